/* The pending page: stages, node, price and countdowns from the stream of progress; cancel. */
"use strict";
(() => {
  const root = document.getElementById("gj-pending");
  if (!root) return;
  const byId = (id) => document.getElementById(id);
  const message = byId("progress-message");
  const live = byId("gj-live");
  const bar = byId("progress-bar");
  const box = byId("gj-bar-box");
  const cancel = byId("gj-cancel");
  const again = byId("gj-again");
  const note = byId("gj-action-note");

  let last = null;      // the last event's gpu_jit part
  let heardAt = 0;      // when it came, by this browser's clock
  let over = false;
  let lost = 0;
  let spoken = "";
  let cancelling = false;

  function time(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    const minutes = Math.floor(whole / 60);
    if (minutes === 0) return whole + " s";
    if (minutes < 60) return minutes + " min " + (whole % 60) + " s";
    return Math.floor(minutes / 60) + " h " + (minutes % 60) + " min";
  }

  function row(stage) {
    const item = document.createElement("li");
    item.className = "gj-" + stage.state;
    if (stage.state === "current") item.setAttribute("aria-current", "step");
    const name = document.createElement("span");
    name.textContent = stage.name;
    item.append(name);
    const seconds = document.createElement("span");
    seconds.className = "gj-seconds";
    if (stage.state === "skipped") seconds.textContent = "not needed";
    else if (typeof stage.seconds === "number") seconds.textContent = time(stage.seconds);
    item.append(seconds);
    return item;
  }

  function details(info) {
    byId("gj-stages").replaceChildren(...(info.stages || []).map(row));
    byId("gj-node").textContent = info.node || "–";
    const kind = [info.instance_type, info.capacity_type, info.zone].filter(Boolean);
    byId("gj-instance").textContent = kind.join(", ") || "–";
    const usd = info.usd_per_hour;
    byId("gj-price").textContent =
      typeof usd === "number" ? "$" + usd.toFixed(usd < 0.1 ? 3 : 2) + " per hour" : "–";
  }

  function tick() {
    if (!last || over) return;
    const since = (Date.now() - heardAt) / 1000;
    byId("gj-elapsed").textContent = time(last.waited_seconds + since);
    if (typeof last.eta_seconds !== "number") byId("gj-eta").textContent = "–";
    else {
      const left = last.eta_seconds - since;
      byId("gj-eta").textContent = left >= 1 ? time(left) : "longer than usual";
    }
    const current = byId("gj-stages").querySelector(".gj-current .gj-seconds");
    const stage = (last.stages || []).find((one) => one.state === "current");
    if (current && stage && typeof stage.seconds === "number") current.textContent = time(stage.seconds + since);
  }

  function percent(value) {
    bar.style.width = value + "%";
    box.setAttribute("aria-valuenow", String(value));
  }

  function end() {
    over = true;
    source.close();
    root.classList.add("gj-over");
    byId("gj-eta").textContent = "–";
    cancel.hidden = true;
    again.hidden = false;
    again.href = root.dataset.spawnUrl;
  }

  function heard(event) {
    const data = JSON.parse(event.data);
    lost = 0;
    if (data.failed && cancelling) return;  // the cancel itself says how it went
    if (typeof data.progress === "number") percent(data.progress);
    if (data.ready) {
      over = true;
      source.close();
      message.textContent = live.textContent = "JupyterLab is ready; opening it.";
      window.location.reload();  // the hub redirects to the server
      return;
    }
    if (data.message) message.textContent = data.message;
    if (data.gpu_jit) {
      last = data.gpu_jit;
      heardAt = Date.now();
      details(last);
      tick();
      if (last.stage !== spoken) live.textContent = data.message || last.stage;
      spoken = last.stage;
    }
    if (data.failed) {
      root.classList.add("gj-failed");
      byId("gj-title").textContent = "This start ended";
      message.textContent = live.textContent = (data.message || "").replace(/^Spawn failed: /, "");
      end();
    }
  }

  let source = null;
  function connect() {
    source = new EventSource(root.dataset.progressUrl);
    source.onmessage = heard;
    source.onerror = () => {
      if (over || source.readyState !== EventSource.CLOSED) return;
      lost += 1;
      message.textContent = "The hub does not answer; trying again. The start itself goes on.";
      // The hub says so when nothing is starting any more: its page for that is a reload away.
      if (lost > 3) window.location.reload();
      else setTimeout(connect, 1500 * lost);
    };
  }

  cancel.addEventListener("click", async () => {
    cancel.disabled = cancelling = true;
    note.textContent = "Cancelling…";
    try {
      const answer = await fetch(root.dataset.cancelUrl, {
        method: "POST",
        headers: { "X-XSRFToken": root.dataset.xsrf, Accept: "application/json" },
      });
      if (!answer.ok) throw new Error((await answer.json()).message || String(answer.status));
      end();
      message.textContent = live.textContent = "The start was cancelled; nothing is left running.";
      note.textContent = "";
      byId("gj-title").textContent = "Cancelled";
    } catch (error) {
      cancel.disabled = cancelling = false;
      note.textContent = "It could not be cancelled: " + error.message;
    }
  });

  connect();
  setInterval(tick, 1000);
})();
