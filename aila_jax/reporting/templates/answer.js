"use strict";
(() => {
  const byId = (name) => document.getElementById(name);
  const data = JSON.parse(byId("answer-data").textContent);
  const buttons = [...byId("answer").querySelectorAll("button")];
  const measures = [...document.querySelectorAll(".measure")];
  const tip = byId("tip"), said = byId("said");
  const fixed = (value, sign) => (sign && +value.toFixed(3) > 0 ? "+" : "") + (+value.toFixed(3) + 0).toFixed(3).replace("-", "−");

  // The bars are of one token, or, with −1, of the whole answer.
  function show(token) {
    const of = token < 0 ? data.whole : data.tokens[token];
    const most = Math.max(...of.attribution.map(Math.abs), 1e-9);
    for (const node of measures) {
      const {kind, passage} = node.dataset, value = of[kind][passage], bar = node.querySelector("i");
      node.querySelector("b").textContent = fixed(value, kind === "attribution");
      if (kind === "mass") { bar.style.cssText = `left:0;width:${100 * value}%`; continue; }
      const share = 50 * Math.abs(value) / most;
      bar.className = value < 0 ? "less" : "";
      bar.style.cssText = `left:${value < 0 ? 50 - share : 50}%;width:${share}%`;
    }
    for (const button of buttons) button.setAttribute("aria-pressed", String(+button.dataset.token === token));
    said.textContent = of.said;
  }
  for (const button of buttons) {
    button.disabled = button.hidden = false;
    button.addEventListener("click", () => show(+button.dataset.token));
    button.addEventListener("keydown", (event) => {
      const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
      if (!step) return;
      event.preventDefault();
      const next = buttons[(buttons.indexOf(button) + step + buttons.length) % buttons.length];
      next.focus();
      show(+next.dataset.token);
    });
  }

  function showTip(node) {
    const box = node.getBoundingClientRect();
    tip.textContent = node.dataset.tip;
    tip.hidden = false;
    const size = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - size.width - 8))}px`;
    tip.style.top = `${box.bottom + 6 + size.height > innerHeight ? Math.max(8, box.top - size.height - 6) : box.bottom + 6}px`;
  }
  for (const node of document.querySelectorAll("[data-tip]")) {
    node.setAttribute("aria-describedby", "tip");
    for (const name of ["mouseenter", "focus"]) node.addEventListener(name, () => showTip(node));
    for (const name of ["mouseleave", "blur"]) node.addEventListener(name, () => { tip.hidden = true; });
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
})();
