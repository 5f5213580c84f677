/* Small helpers of the status page. Texts only ever become text nodes. */

export function el(name, className, ...children) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...children.filter((child) => child !== null && child !== ""));
  return node;
}

export function usd(amount) {
  return "$" + amount.toFixed(amount !== 0 && Math.abs(amount) < 0.1 ? 3 : 2);
}

export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const minutes = Math.floor(whole / 60);
  const hours = Math.floor(minutes / 60);
  if (minutes === 0) return whole + " s";
  if (minutes < 60) return minutes + " min " + (whole % 60) + " s";
  if (hours < 48) return hours + " h " + (minutes % 60) + " min";
  return Math.floor(hours / 24) + " d " + (hours % 24) + " h";
}

export function many(count, word) {
  return count + " " + word + (count === 1 ? "" : "s");
}

let skewMs = 0;
const clocks = new Map();

/* The server's clock counts: the browser's may be wrong. */
export function setServerTime(epochSeconds) {
  if (epochSeconds > 0) skewMs = epochSeconds * 1000 - Date.now();
}

function tellClock(node) {
  const clock = clocks.get(node);
  const seconds = (Date.now() + skewMs - clock.at) / 1000;
  const text = clock.left ? left(-seconds) : duration(seconds);
  if (node.textContent !== text) node.textContent = text;
}

function left(seconds) {
  return seconds < 1 ? "longer than usual" : "about " + duration(seconds) + " left";
}

/* A time element that counts: since a moment, or (left) until it. */
export function counting(moment, { left: isLeft = false } = {}) {
  const node = el("time", "gj-number");
  node.dateTime = moment;
  clocks.set(node, { at: Date.parse(moment), left: isLeft });
  tellClock(node);
  return node;
}

setInterval(() => {
  for (const node of clocks.keys()) {
    if (node.isConnected) tellClock(node);
    else clocks.delete(node);
  }
}, 1000);

export function clockTime(moment) {
  const node = el("time", "gj-number", new Date(moment).toLocaleTimeString([], { hour12: false }));
  node.dateTime = moment;
  node.title = new Date(moment).toLocaleString();
  return node;
}

export function who(session) {
  const name = el("strong", "gj-user", session.user);
  return session.server ? el("span", "", name, " / ", session.server) : el("span", "", name);
}

export function badge(text, kind) {
  return el("span", "gj-badge" + (kind ? " gj-" + kind : ""), text);
}

export function place(row) {
  return [row.instance_type, row.capacity_type, row.zone].filter(Boolean).join(", ");
}
