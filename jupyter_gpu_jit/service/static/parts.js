/* The parts of the status page: each custom element draws one piece of the picture it is shown. */
import { badge, clockTime, counting, el, many, place, usd, who } from "./dom.js";

class Part extends HTMLElement {
  /* Draw anew, but only what has changed since the last picture. */
  show(data) {
    const text = JSON.stringify(data);
    if (text === this.shown) return;
    this.shown = text;
    this.replaceChildren(...this.draw(data));
  }
}

function nothing(text) {
  return el("p", "gj-nothing", text);
}

class Totals extends Part {
  draw({ counts, money, view }) {
    const everything = view === "everything";
    const seats = everything ? [counts.gpus - counts.gpus_free + " of " + counts.gpus, "GPU seats taken"]
      : [String(counts.gpus), counts.gpus === 1 ? "GPU in use" : "GPUs in use"];
    const coming = money.in_flight_usd_per_hour;
    const note = coming ? usd(money.running_usd_per_hour) + " running, " + usd(coming) + " on the way" : "";
    return [
      this.tile(usd(money.usd_per_hour) + "/h", everything ? "being paid now" : "your share now", note),
      this.tile(String(counts.running), counts.running === 1 ? "session on a node" : "sessions on nodes"),
      this.tile(String(counts.waiting), counts.waiting === 1 ? "session waiting" : "sessions waiting"),
      this.tile(...seats),
    ];
  }

  tile(figure, words, note = "") {
    return el("div", "gj-tile", el("span", "gj-figure", figure), el("span", "gj-words", words),
      note && el("span", "gj-soft", note));
  }
}

function stageKind(stage) {
  if (stage === "Ready") return "good";
  return { Waiting: "warn", Refused: "bad", Failed: "bad" }[stage] || "";
}

function sessionFacts(session) {
  const gpus = session.gpus ? many(session.gpus, "GPU") : "no GPU";
  const price = session.usd_per_hour ? ", " + usd(session.usd_per_hour) + "/h" : "";
  return el("span", "gj-soft", session.profile + ", " + gpus + price);
}

class Waiting extends Part {
  draw(rows) {
    return [el("ul", "gj-rows", ...rows.map((row) => this.row(row)))];
  }

  row(row) {
    const times = el("span", "gj-right gj-soft", counting(row.since));
    if (row.ready_at) times.append(", ", counting(row.ready_at, { left: true }));
    const head = el("div", "gj-line", who(row), badge(row.stage, stageKind(row.stage)), sessionFacts(row), times);
    return el("li", "", head, el("p", "gj-why", row.message || row.reason || "Not planned yet."));
  }
}

const FLIGHT_STAGES = ["Planned", "Launching", "Booting", "Registered"];

class Flights extends Part {
  draw(rows) {
    return [el("ul", "gj-rows", ...rows.map((row) => this.row(row)))];
  }

  row(row) {
    const at = FLIGHT_STAGES.indexOf(row.stage);
    const names = { Registered: "Joined" };
    const steps = FLIGHT_STAGES.map((stage, index) => {
      const step = el("li", index < at ? "gj-done" : index === at ? "gj-current" : "", names[stage] || stage);
      if (index === at) step.setAttribute("aria-current", "step");
      return step;
    });
    const head = el("div", "gj-line", el("strong", "gj-user", place(row)), row.ending ? badge("Ending", "warn") : null,
      el("span", "gj-right", usd(row.usd_per_hour) + "/h"));
    const people = row.sessions.map((session) => session.user + (session.server ? " / " + session.server : ""));
    const why = el("p", "gj-why", people.length ? "For " + people.join(", ") : "For nobody any more",
      " · in this stage for ", counting(row.since), " · ", many(row.offerings, "offering") + " would serve",
      row.attempt > 1 ? " · attempt " + row.attempt : "", el("span", "gj-soft", " · " + row.name));
    return el("li", "", head, el("ol", "gj-steps", ...steps), why);
  }
}

class Nodes extends Part {
  draw({ nodes, view }) {
    if (nodes.length === 0) {
      return [nothing(view === "everything" ? "No node runs now, so nothing is paid for."
        : "You have no session on a node. Start one from the hub's home page.")];
    }
    return nodes.map((node) => this.node(node, view === "everything"));
  }

  node(node, everything) {
    const kind = { Ready: "good", Missing: "bad", "Not ready": "bad" }[node.state] || "warn";
    const head = el("div", "gj-headline", el("div", "gj-line", el("h3", "", node.name), badge(node.state, kind)),
      el("span", "gj-right gj-price", usd(node.usd_per_hour) + "/h"));
    const age = node.created_at ? el("span", "", everything ? "age " : "node's age ", counting(node.created_at)) : null;
    const empty = node.empty_since ? el("span", "gj-warned", "empty for ", counting(node.empty_since)) : null;
    const model = node.gpu_model && node.gpus ? many(node.gpus, node.gpu_model + " GPU") : node.gpu_model;
    const texts = [node.instance_type, model, node.capacity_type, node.zone].filter(Boolean);
    const facts = el("ul", "gj-facts", ...[...texts, age, empty].filter(Boolean).map((fact) => el("li", "", fact)));
    return el("article", "gj-node", head, facts, node.gpus ? this.seats(node) : null, this.people(node));
  }

  /* One cell for each GPU; a session's cells are joined and carry its user's name. */
  seats(node) {
    const bar = el("div", "gj-seats");
    const said = [];
    const add = (className, text, count) => {
      const seat = el("span", "gj-seat " + className, text);
      seat.style.gridColumn = "span " + count;
      bar.append(seat);
    };
    for (const session of node.sessions) {
      if (!session.gpus) continue;
      add(session.ending ? "gj-leaving" : session.stage === "Ready" ? "gj-taken" : "gj-coming", session.user, session.gpus);
      said.push(many(session.gpus, "GPU") + " " + session.user);
    }
    if (node.gpus_other) {
      add("gj-other", "other", node.gpus_other);
      said.push(many(node.gpus_other, "GPU") + " other pods");
    }
    for (let free = 0; free < node.gpus_free; free++) add("gj-free", "", 1);
    if (node.gpus_free) said.push(node.gpus_free + " free");
    bar.style.gridTemplateColumns = "repeat(" + node.gpus + ", minmax(0, 1fr))";
    bar.setAttribute("role", "img");
    bar.setAttribute("aria-label", "GPU seats: " + said.join(", "));
    return bar;
  }

  people(node) {
    if (node.sessions.length === 0) return el("p", "gj-why", "Nobody sits here.");
    return el("ul", "gj-people", ...node.sessions.map((session) => el("li", "gj-line", who(session),
      badge(session.ending ? "Ending" : session.stage, session.ending ? "warn" : stageKind(session.stage)),
      sessionFacts(session), el("span", "gj-right gj-soft", counting(session.since)))));
  }
}

class Log extends Part {
  draw(lines) {
    if (lines.length === 0) return [nothing("Nothing has been decided yet.")];
    return [el("ol", "gj-log", ...lines.map((line) => this.line(line)))];
  }

  line(line) {
    const about = line.claim ? el("span", "gj-about", line.claim) : el("span", "gj-about", who(line));
    const kind = line.claim ? (line.what === "Launch failed" ? "bad" : "") : stageKind(line.what);
    return el("li", "", clockTime(line.at), badge(line.what, kind), about, el("span", "gj-why", line.why));
  }
}

class Live extends HTMLElement {
  tell(state, text) {
    if (this.dataset.state === state && this.textContent === text) return;
    this.dataset.state = state;
    this.textContent = text;
  }
}

customElements.define("gj-totals", Totals);
customElements.define("gj-waiting", Waiting);
customElements.define("gj-flights", Flights);
customElements.define("gj-nodes", Nodes);
customElements.define("gj-log", Log);
customElements.define("gj-live", Live);
