"use strict";
(() => {
  const data = JSON.parse(document.getElementById("dial-data").textContent);
  const panel = document.getElementById("dial-panel");
  const slider = document.getElementById("dial-lam");
  const select = document.getElementById("dial-tau");
  const LEFT = 46, RIGHT = 308, TOP = 10, BOTTOM = 146;

  // λ and τ as text: 0.3 where the grid holds 0.30000000000000004.
  const short = (number) => String(+number.toPrecision(6));
  const indexOf = (numbers, wanted) => numbers.findIndex((number) => short(number) === wanted);
  const cellAt = (lam, tau) => data.cells.find((cell) => cell.lam === lam && cell.tau === tau);
  const lineOf = (tau) => data.lams.map((lam) => cellAt(lam, tau)).filter(Boolean);

  function add(parent, tag, attributes, text) {
    const node = document.createElementNS(parent.namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    parent.appendChild(node);
    return node;
  }

  const lowLam = data.lams[0], highLam = data.lams[data.lams.length - 1];
  const x = (lam) => highLam === lowLam ? (LEFT + RIGHT) / 2 : LEFT + 8 + (RIGHT - LEFT - 16) * (lam - lowLam) / (highLam - lowLam);

  function linearTicks(low, high) {
    const rough = (high - low) / 5;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
    const ticks = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) ticks.push(k * step);
    return ticks;
  }

  function logTicks(low, high) {
    const ticks = [];
    const factors = high / low < 30 ? [1, 2, 5] : [1];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
      for (const factor of factors) {
        const tick = factor * 10 ** power;
        if (tick >= low && tick <= high) ticks.push(tick);
      }
    }
    return ticks;
  }

  // As in the figures: perplexity is logarithmic where it spans more than a factor of 3; entropy and block mass start at 0.
  function scaleOf(field) {
    const values = data.cells.map((cell) => cell.numbers[field]);
    let low = Math.min(...values), high = Math.max(...values);
    const log = field === "perplexity_token" && high > 3 * low;
    if (field === "block_mass") [low, high] = [0, 1];
    else if (field === "entropy_bits") [low, high] = [0, 1.06 * high || 1];
    else if (log) [low, high] = [low / 1.1, high * 1.1];
    else {
      const room = 0.08 * (high - low) || 0.05 * Math.abs(high) || 1;
      [low, high] = [low - room, high + room];
    }
    const place = log ? (value) => Math.log(value / low) / Math.log(high / low) : (value) => (value - low) / (high - low);
    return {log, y: (value) => BOTTOM - (BOTTOM - TOP) * place(value), ticks: log ? logTicks(low, high) : linearTicks(low, high)};
  }

  function tickText(field, value) {
    if (field === "accuracy" || field === "block_mass") return `${+(100 * value).toFixed(4)} %`;
    return value >= 1e6 ? value.toExponential(0) : (+value.toPrecision(6)).toLocaleString("en");
  }

  function drawAxes(svg, field, scale) {
    for (const tick of scale.ticks) {
      add(svg, "line", {class: "rule", x1: LEFT, x2: RIGHT, y1: scale.y(tick), y2: scale.y(tick)});
      add(svg, "text", {x: LEFT - 5, y: scale.y(tick) + 4, "text-anchor": "end"}, tickText(field, tick));
    }
    const every = Math.ceil(data.lams.length / 6);
    data.lams.forEach((lam, index) => {
      if (index % every === 0) add(svg, "text", {x: x(lam), y: BOTTOM + 16, "text-anchor": "middle"}, short(lam));
    });
    add(svg, "text", {x: (LEFT + RIGHT) / 2, y: BOTTOM + 31, "text-anchor": "middle"}, "λ");
  }

  function drawLine(svg, cells, field, scale, name) {
    const points = cells.map((cell) => `${x(cell.lam)},${scale.y(cell.numbers[field])}`).join(" ");
    return add(svg, "polyline", {class: name, points});
  }

  const charts = [...panel.querySelectorAll(".card")].map((card) => {
    const field = card.dataset.field, svg = card.querySelector("svg"), scale = scaleOf(field);
    drawAxes(svg, field, scale);
    if (scale.log) card.querySelector(".name").textContent += ", log scale";
    const lines = data.taus.map((tau) => drawLine(svg, lineOf(tau), field, scale, "line"));
    const top = add(svg, "g", {});
    svg.addEventListener("click", (event) => {
      const box = svg.getBoundingClientRect();
      const at = (event.clientX - box.left) * 320 / box.width;
      const near = data.lams.map((lam, index) => [Math.abs(x(lam) - at), index]).sort((a, b) => a[0] - b[0]);
      slider.value = near[0][1];
      choose();
    });
    return {card, field, scale, lines, top};
  });

  function highlight(chart, cell, tauIndex) {
    const {card, field, scale, lines, top} = chart;
    lines.forEach((line, index) => line.setAttribute("class", index === tauIndex ? "line on" : "line"));
    top.replaceChildren();
    const shown = lineOf(data.taus[tauIndex]);
    drawLine(top, shown, field, scale, "line on");
    if (field === "block_mass") drawLine(top, shown, "block_mass_uniform", scale, "uniform");
    for (const one of shown) add(top, "circle", {class: "dot", cx: x(one.lam), cy: scale.y(one.numbers[field]), r: shown.length > 12 ? 1.8 : 2.8});
    card.querySelector("b").textContent = cell ? cell.texts[field] : "not measured";
    const lift = card.querySelector(".lift");
    if (lift) lift.textContent = cell ? `lift ${cell.texts.block_mass_lift} over uniform attention` : "";
    if (!cell) return;
    add(top, "line", {class: "guide", x1: x(cell.lam), x2: x(cell.lam), y1: TOP, y2: BOTTOM});
    add(top, "circle", {class: "chosen", cx: x(cell.lam), cy: scale.y(cell.numbers[field]), r: 6.5});
  }

  function show() {
    const lam = data.lams[slider.value], tau = data.taus[select.value], cell = cellAt(lam, tau);
    document.getElementById("dial-lam-value").textContent = short(lam);
    slider.setAttribute("aria-valuetext", `λ = ${short(lam)}`);
    charts.forEach((chart) => highlight(chart, cell, Number(select.value)));
    const texts = cell && cell.texts;
    document.getElementById("dial-said").textContent = `λ = ${short(lam)}, τ = ${short(tau)}: ` + (texts
      ? `perplexity per token ${texts.perplexity_token}, accuracy ${texts.accuracy}, attention entropy ${texts.entropy_bits} bits, ` +
        `block mass ${texts.block_mass}, lift ${texts.block_mass_lift} over uniform attention`
      : "not measured");
  }

  function choose() {
    show();
    // The address remembers the setting, beside that of the attention maps; a page inside a frame may not change its address.
    const address = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
    address.set("lam", short(data.lams[slider.value]));
    address.set("tau", short(data.taus[select.value]));
    try { history.replaceState(null, "", `#${address}`); } catch { return; }
  }

  function fromAddress() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const lam = indexOf(data.lams, wanted.get("lam")), tau = indexOf(data.taus, wanted.get("tau"));
    if (lam >= 0) slider.value = lam;
    if (tau >= 0) select.value = tau;
    show();
  }

  slider.addEventListener("input", choose);
  select.addEventListener("change", choose);
  window.addEventListener("hashchange", fromAddress);
  panel.hidden = false;
  fromAddress();
})();

(() => {
  function sort(table, column, header) {
    const ascending = header.getAttribute("aria-sort") !== "ascending";
    const value = (row) => row.cells[column].dataset.value;
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      // Cells without a value stay at the end, whichever the order.
      if (value(a) === "" || value(b) === "") return (value(a) === "") - (value(b) === "");
      return (ascending ? 1 : -1) * (value(a) - value(b));
    });
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    table.tBodies[0].append(...rows);
  }
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = header.textContent;
      button.addEventListener("click", () => sort(table, column, header));
      header.replaceChildren(button);
    });
  }
})();
