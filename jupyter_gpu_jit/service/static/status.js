/* The status page: hears the stream of pictures and hands each part its piece. */
import { setServerTime } from "./dom.js";
import "./parts.js";

const body = document.body;
const trouble = document.getElementById("gj-trouble");
const live = document.querySelector("gj-live");
const part = (name) => document.querySelector("gj-" + name);

function complain(text) {
  trouble.textContent = text;
  trouble.hidden = !text;
}

function show(picture) {
  const everything = picture.view === "everything";
  document.getElementById("gj-heading").textContent = everything ? "GPU nodes and sessions" : "Your GPU sessions";
  document.getElementById("gj-s-waiting").hidden = picture.waiting.length === 0;
  document.getElementById("gj-s-flights").hidden = picture.in_flight.length === 0;
  part("totals").show({ counts: picture.counts, money: picture.money, view: picture.view });
  part("waiting").show(picture.waiting);
  part("flights").show(picture.in_flight);
  part("nodes").show({ nodes: picture.nodes, view: picture.view });
  part("log").show(picture.log);
  if (picture.unreadable.length) {
    complain("Node claims that cannot be read, so that they are not shown: " + picture.unreadable.join(", ") + ".");
  }
}

function listen() {
  setServerTime(Number(body.dataset.now));
  const stream = new EventSource(body.dataset.events + "?_xsrf=" + encodeURIComponent(body.dataset.xsrf));
  const stop = (text) => {
    stream.close();
    live.tell("ended", "not live");
    complain(text);
  };
  stream.addEventListener("open", () => live.tell("live", "live"));
  stream.addEventListener("overview", (event) => {
    live.tell("live", "live");
    complain("");
    show(JSON.parse(event.data));
  });
  stream.addEventListener("trouble", (event) => complain(JSON.parse(event.data)));
  stream.addEventListener("end", (event) => stop(JSON.parse(event.data)));
  stream.addEventListener("error", () => {
    // The browser connects again by itself, unless it was refused.
    if (stream.readyState === EventSource.CLOSED) stop("This page is no longer connected: reload it to log in again.");
    else live.tell("lost", "connecting again");
  });
  addEventListener("pagehide", () => stream.close());
  addEventListener("pageshow", (event) => event.persisted && location.reload());
}

listen();
