/* Prices and waits on the spawn page. All text goes in through textContent. */
"use strict";
(() => {
  const REFRESH_MS = 10000;
  const root = document.getElementById("gj-profiles");
  const note = document.getElementById("gj-quotes-note");
  if (!root) return;

  const cards = [...root.querySelectorAll(".gj-card")];

  function money(micro) {
    const usd = micro / 1e6;
    return "$" + usd.toFixed(usd < 0.1 ? 3 : 2) + " / h";
  }

  function about(seconds) {
    if (seconds < 90) return Math.max(10, Math.round(seconds / 10) * 10) + " s";
    return Math.round(seconds / 60) + " min";
  }

  function wait(quote) {
    if (typeof quote.wait_p50_seconds !== "number") return "";
    const usual = "ready in about " + about(quote.wait_p50_seconds);
    if (quote.seat === "now") return usual + ", a node has room";
    if (quote.seat === "in-flight") return usual + ", a node is on its way";
    return usual;
  }

  /* Which node it would be, and that the price is a share where others sit on it too. */
  function place(quote) {
    const node = "one " + (quote.instance_type || "node") + (quote.zone ? " in " + quote.zone : "");
    const whole = quote.node_usd_per_hour_micro;
    if (whole > quote.usd_per_hour_micro) return "Your share of " + node + ", which costs " + money(whole) + ".";
    return "All of " + node + ".";
  }

  function often(perHour) {
    const hours = 1 / perHour;
    return hours < 48 ? Math.max(1, Math.round(hours)) + " h" : Math.round(hours / 24) + " days";
  }

  /* What may come differently: another node in its place, or the cloud taking it back. */
  function terms(quote) {
    const texts = [place(quote)];
    const most = quote.most_usd_per_hour_micro;
    if (most > quote.usd_per_hour_micro) texts.push("At most " + money(most) + " if another node has to be taken.");
    const rate = quote.interruptions_per_hour;
    if (rate > 0) texts.push("The cloud is expected to take such a node back about every " + often(rate) + ".");
    return texts.join(" ");
  }

  function show(card, quote) {
    card.querySelector('[data-quote="place"]').textContent = quote && quote.possible ? terms(quote) : "";
    const price = card.querySelector('[data-quote="price"]');
    const waiting = card.querySelector('[data-quote="wait"]');
    if (!quote) {
      price.textContent = "price unknown";
      waiting.textContent = "";
    } else if (!quote.possible) {
      price.textContent = "not to be had now";
      waiting.textContent = [quote.reason, quote.alternative].filter(Boolean).join(" ");
    } else {
      price.textContent = money(quote.usd_per_hour_micro) + " now";
      waiting.textContent = wait(quote);
    }
  }

  async function refresh() {
    let quotes = null;
    try {
      const url = new URL(root.dataset.quotesUrl, window.location.href);
      url.searchParams.set("_xsrf", window.jhdata ? window.jhdata.xsrf_token : "");
      const answer = await fetch(url, { headers: { Accept: "application/json" } });
      if (answer.ok) quotes = (await answer.json()).quotes;
    } catch (error) {
      quotes = null;
    }
    for (const card of cards) show(card, quotes ? quotes[card.dataset.slug] : null);
    note.textContent = quotes
      ? "Prices and waits are those of now; they are looked up again every 10 seconds."
      : "Prices cannot be had at the moment; starting works all the same.";
  }

  /* Inputs of cards that are not chosen are not sent, nor do they keep the form from being sent. */
  function enable() {
    for (const card of cards) {
      const chosen = card.querySelector(".gj-radio").checked;
      for (const input of card.querySelectorAll(".gj-choices select, .gj-choices input")) input.disabled = !chosen;
    }
  }

  root.addEventListener("change", enable);
  enable();
  refresh();
  setInterval(() => { if (!document.hidden) refresh(); }, REFRESH_MS);
})();
