"use strict";
(() => {
  const byId = (name) => document.getElementById(name);
  const data = JSON.parse(byId("dial-data").textContent);
  const slider = byId("dial-lam"), select = byId("dial-tau"), tip = byId("tip");
  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const ramp = bytes(data.ramp);
  document.documentElement.style.setProperty("--edge", data.edge);

  // λ and τ as text: 0.3 where the grid holds 0.30000000000000004.
  const short = (number) => String(+number.toPrecision(6));
  const colour = (q) => `rgb(${ramp[3 * q]}, ${ramp[3 * q + 1]}, ${ramp[3 * q + 2]})`;
  const ink = (q) => q > 165 ? "#000000" : "#ffffff";
  const lam = () => data.lams[slider.value], tau = () => data.taus[select.value];
  const setting = (one, other) => `λ = ${short(one)}, τ = ${short(other)}`;
  const within = (value, low, high) => Math.min(high, Math.max(low, value));

  function add(parent, tag, attributes = {}, text) {
    const node = document.createElementNS(parent.namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    parent.appendChild(node);
    return node;
  }

  // ---- One tip for terms and values: near the pointer or what has the focus, always inside the window.
  function showTip(text, x, y) {
    tip.textContent = text;
    tip.hidden = false;
    const {width, height} = tip.getBoundingClientRect();
    tip.style.left = `${within(x + 14, 8, innerWidth - width - 8)}px`;
    tip.style.top = `${y + 18 + height > innerHeight - 8 ? Math.max(8, y - height - 12) : y + 18}px`;
  }
  const hideTip = () => { tip.hidden = true; };
  function tipBelow(node) {
    const box = node.getBoundingClientRect();
    showTip(node.dataset.tip, box.left - 14, box.bottom - 12);
  }
  for (const node of document.querySelectorAll("[data-tip]")) {
    node.setAttribute("aria-describedby", "tip");
    node.addEventListener("pointerenter", () => tipBelow(node));
    node.addEventListener("focus", () => tipBelow(node));
    node.addEventListener("click", (event) => { event.preventDefault(); tipBelow(node); });
    node.addEventListener("pointerleave", hideTip);
    node.addEventListener("blur", hideTip);
  }
  addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
  addEventListener("scroll", hideTip, {passive: true});

  // ---- The four panels.
  const LEFT = 46, RIGHT = 308, TOP = 10, BOTTOM = 146;
  const lowLam = data.lams[0], highLam = data.lams[data.lams.length - 1];
  const x = (value) => highLam === lowLam ? (LEFT + RIGHT) / 2 : LEFT + 8 + (RIGHT - LEFT - 16) * (value - lowLam) / (highLam - lowLam);
  const cellAt = (run, one, other) => run.cells.find((cell) => cell.lam === one && cell.tau === other);
  const lineOf = (run, other) => data.lams.map((one) => cellAt(run, one, other)).filter(Boolean);
  const EXTRA = {entropy_bits: ["guaranteed_entropy_bits"], block_mass: ["block_mass_uniform", "guaranteed_block_mass"]};

  function linearTicks(low, high) {
    const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
    const ticks = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) ticks.push(k * step);
    return ticks;
  }

  function logTicks(low, high) {
    const ticks = [], factors = high / low < 10 ? [1, 2, 3, 5, 7] : high / low < 30 ? [1, 2, 5] : [1];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
      for (const factor of factors) if (factor * 10 ** power >= low && factor * 10 ** power <= high) ticks.push(factor * 10 ** power);
    }
    return ticks;
  }

  // Perplexity is logarithmic where it spans more than a factor of 3; entropy and block mass start at 0. Whatever is
  // drawn is within: also what is guaranteed, and uniform attention.
  function scaleOf(field) {
    const names = [field, ...(EXTRA[field] || [])];
    const values = data.runs.flatMap((run) => run.cells.flatMap((cell) => names.map((name) => cell.numbers[name]))).filter((value) => value !== null);
    let low = Math.min(...values), high = Math.max(...values);
    const log = field === "perplexity_token" && high > 3 * low;
    if (field === "block_mass") [low, high] = [0, Math.max(1, high)];
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
    data.lams.forEach((one, index) => {
      if (index % every === 0) add(svg, "text", {x: x(one), y: BOTTOM + 16, "text-anchor": "middle"}, short(one));
    });
    add(svg, "text", {x: (LEFT + RIGHT) / 2, y: BOTTOM + 31, "text-anchor": "middle"}, "λ");
  }

  // One point alone draws no line: a short dash stands in for it.
  function drawLine(parent, cells, field, scale, name) {
    const points = cells.filter((cell) => cell.numbers[field] !== null).map((cell) => [x(cell.lam), scale.y(cell.numbers[field])]);
    const drawn = points.length === 1 ? [[points[0][0] - 8, points[0][1]], [points[0][0] + 8, points[0][1]]] : points;
    if (drawn.length) add(parent, "polyline", {class: name, points: drawn.join(" ")});
  }

  function nearestLam(svg, event) {
    const box = svg.getBoundingClientRect(), at = (event.clientX - box.left) * 320 / box.width;
    return data.lams.map((one, index) => [Math.abs(x(one) - at), index]).sort((a, b) => a[0] - b[0])[0][1];
  }

  const charts = [...document.querySelectorAll(".card[data-field]")].map((card) => {
    const field = card.dataset.field, svg = card.querySelector("svg"), scale = scaleOf(field);
    drawAxes(svg, field, scale);
    if (scale.log) card.querySelector(".name").append(", log scale");
    if (data.runs.length === 1) for (const other of data.taus) drawLine(svg, lineOf(data.runs[0], other), field, scale, "line");
    const top = add(svg, "g");
    svg.addEventListener("click", (event) => { slider.value = nearestLam(svg, event); choose(); });
    svg.addEventListener("pointermove", (event) => {
      const one = data.lams[nearestLam(svg, event)];
      showTip([setting(one, tau()), ...data.runs.map((run) => valueText(run, cellAt(run, one, tau()), field))].join("\n"), event.clientX, event.clientY);
    });
    svg.addEventListener("pointerleave", hideTip);
    return {card, field, scale, top};
  });

  function valueText(run, cell, field) {
    const name = data.runs.length > 1 ? `${run.label}: ` : "";
    if (!cell) return `${name}not measured`;
    const texts = cell.texts, more = [];
    if (field === "entropy_bits" && cell.numbers.guaranteed_entropy_bits !== null) more.push(`guaranteed: at most ${texts.guaranteed_entropy_bits}`);
    if (field === "block_mass") {
      more.push(`${texts.block_mass_lift} that of uniform attention`);
      if (cell.numbers.guaranteed_block_mass !== null) more.push(`guaranteed: at least ${texts.guaranteed_block_mass}`);
    }
    return `${name}${texts[field]}${more.length ? ` (${more.join(", ")})` : ""}`;
  }

  function showChart({card, field, scale, top}) {
    const value = card.querySelector(".value");
    top.replaceChildren();
    value.replaceChildren();
    data.runs.forEach((run, index) => {
      const group = add(top, "g", {class: `run${index}`}), shown = lineOf(run, tau()), cell = cellAt(run, lam(), tau());
      if (!run.cells.length) return;
      drawLine(group, shown, field, scale, "line on");
      for (const name of EXTRA[field] || []) drawLine(group, shown, name, scale, name.startsWith("guaranteed") ? "guaranteed" : "uniform");
      for (const one of shown) add(group, "circle", {class: "dot", cx: x(one.lam), cy: scale.y(one.numbers[field]), r: shown.length > 12 ? 1.8 : 2.8});
      const text = add(value, "span", {class: `run${index}`});
      add(text, "b", {}, cell ? cell.texts[field] : "not measured");
      if (field === "block_mass" && cell) add(text, "small", {class: "lift"}, ` ${cell.texts.block_mass_lift} uniform`);
      if (!cell) return;
      add(group, "line", {class: "guide", x1: x(cell.lam), x2: x(cell.lam), y1: TOP, y2: BOTTOM});
      add(group, "circle", {class: "chosen", cx: x(cell.lam), cy: scale.y(cell.numbers[field]), r: 6.5});
    });
  }

  // ---- Sample text.
  const partsOf = (section) => [...document.querySelectorAll(`#${section} [data-run]`)];
  const samples = partsOf("samples").map((part, index) => ({text: part.querySelector(".text"), all: data.runs[index].samples}));

  function showSample({text, all}) {
    const found = all.find((sample) => sample.lam === lam() && sample.tau === tau());
    text.replaceChildren();
    if (found) {
      add(text, "mark", {}, found.prompt);
      text.append(found.text, found.cut ? ` … (${found.cut} more characters)` : "");
    } else {
      const there = all.map((sample) => setting(sample.lam, sample.tau)).join("; ");
      add(text, "span", {class: "note"}, all.length ? `No sample was generated at ${setting(lam(), tau())}. There are samples at ${there}.` : "No samples.");
    }
  }

  // ---- Attention.
  function viewOf(part, index) {
    const reading = data.runs[index].reading;
    if (!reading) return null;
    const length = reading.tokens.length, one = (name) => part.querySelector(name);
    const view = {
      part, reading, length, layer: 0, head: 0, query: length - 1, key: 0, heads: [],
      weights: bytes(reading.weights), inside: bytes(reading.inside), kinds: reading.kinds && bytes(reading.kinds),
      cells: reading.causal ? length * (length + 1) / 2 : length * length,
      said: one(".said"), words: one(".words"), box: one(".mapbox"), map: one(".map"), field: one(".field"),
      canvas: one(".field canvas"), cellSaid: one(".cellsaid"), zoom: one(".zoom"), marks: one(".marks"),
    };
    buildHeads(view);
    buildTokens(view);
    buildMap(view);
    for (const weight of [0, 0.01, 0.05, 0.2, 0.5, 1]) {
      const q = Math.round(255 * Math.sqrt(weight));
      add(one(".scaleof"), "i", {style: `background:${colour(q)};color:${ink(q)}`}, weight);
    }
    return view;
  }

  // What a key is for a query in the layer that is shown: 0 outside, 1 of its block, 2 a pointer, 3 a sink.
  const kindOf = (view, query, key) => {
    const place = query * view.length + key;
    if (view.kinds) return view.kinds[view.layer * view.length * view.length + place];
    return view.inside[place >> 3] >> (7 - place % 8) & 1;
  };
  const KINDS = ["outside its block", "inside its block", "inside, a pointer", "inside, the sink"];

  // The byte of a weight, round(255 √w): undefined for a key that the query may not attend to, null at a setting that was not read.
  function byteOf(view, one, other, layer, head, query, key) {
    const {reading, length, weights, cells} = view;
    if (reading.causal && key > query) return undefined;
    const row = reading.taus.indexOf(other), column = reading.lams.indexOf(one);
    if (row < 0 || column < 0) return null;
    const map = ((row * reading.lams.length + column) * reading.layers.length + layer) * reading.heads.length + head;
    return weights[map * cells + (reading.causal ? query * (query + 1) / 2 : query * length) + key];
  }
  const weightText = (q) => ((q / 255) ** 2).toFixed(4);
  const shownByte = (view, query, key) => byteOf(view, lam(), tau(), view.layer, view.head, query, key);

  function paint(canvas, view, layer, head) {
    const {length} = view;
    canvas.width = canvas.height = length;
    const context = canvas.getContext("2d"), image = context.createImageData(length, length);
    for (let query = 0; query < length; query += 1) {
      for (let key = 0; key < length; key += 1) {
        const q = byteOf(view, lam(), tau(), layer, head, query, key);
        if (q !== undefined && q !== null) image.data.set([ramp[3 * q], ramp[3 * q + 1], ramp[3 * q + 2], 255], 4 * (query * length + key));
      }
    }
    context.putImageData(image, 0, 0);
  }

  function buildHeads(view) {
    const {layers, heads} = view.reading, box = view.part.querySelector(".heads");
    box.style.gridTemplateColumns = `repeat(${heads.length}, auto)`;
    layers.forEach((layerName, layer) => heads.forEach((headName, head) => {
      const button = add(box, "button", {type: "button", "aria-label": `layer ${layerName}, head ${headName}`});
      view.heads.push({layer, head, button, canvas: add(button, "canvas")});
      add(button, "small", {}, `${layerName}·${headName}`);
      button.addEventListener("click", () => { [view.layer, view.head] = [layer, head]; choose(); });
    }));
  }

  // Views of one text choose the same query.
  function chooseQuery(view, query) {
    for (const other of views) {
      if (other && (other === view || String(other.reading.tokens) === String(view.reading.tokens))) other.query = within(query, 0, other.length - 1);
    }
    choose();
  }

  function buildTokens(view) {
    const {reading} = view;
    view.spans = reading.tokens.map((token, index) => {
      const span = add(view.words, "span", {role: "option", "aria-label": `token ${index}, ${reading.labels[index]}`}, token === "\n" ? "⏎\n" : token);
      span.addEventListener("click", () => chooseQuery(view, index));
      return span;
    });
    view.words.addEventListener("keydown", (event) => {
      const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -view.length, End: view.length}[event.key];
      if (!step) return;
      event.preventDefault();
      chooseQuery(view, view.query + step);
      view.spans[view.query].focus();
    });
    [view.queryNames, view.keyNames] = [".queries", ".keys"].map((name) => reading.labels.map((label, index) => {
      const span = add(view.map.querySelector(name), "span", {title: reading.tokens[index]}, label);
      span.addEventListener("click", () => chooseQuery(view, index));
      return span;
    }));
  }

  function buildMap(view) {
    const {length, map, field, zoom, box} = view, svg = field.querySelector("svg");
    map.style.setProperty("--n", length);
    svg.setAttribute("viewBox", `-0.5 -0.5 ${length} ${length}`);
    view.edges = svg.querySelector(".edges");
    const size = () => {
      map.style.setProperty("--cell", `${zoom.value}px`);
      map.style.setProperty("--names-size", `${within(zoom.value - 3, 7, 12)}px`);
    };
    const room = view.part.clientWidth, corner = map.querySelector(".corner").offsetWidth + 16;
    const fits = (room - corner) / length;
    zoom.value = within(2 * Math.floor(Math.min(fits, 620 / length) / 2), 12, 30);
    zoom.addEventListener("input", size);
    size();
    const at = (event) => {
      const area = field.getBoundingClientRect();
      return [event.clientY - area.top, event.clientX - area.left].map((place) => within(Math.floor(place * length / area.width), 0, length - 1));
    };
    field.addEventListener("pointermove", (event) => {
      [, view.key] = at(event);
      const [query, key] = at(event);
      pointAt(view, query, key);
      showTip(cellText(view, query, key), event.clientX, event.clientY);
    });
    field.addEventListener("pointerleave", () => { hideTip(); pointAt(view, -1, -1); });
    field.addEventListener("click", (event) => { const [query, key] = at(event); view.key = key; chooseQuery(view, query); });
    box.addEventListener("keydown", (event) => {
      const [down, across] = {ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1]}[event.key] || [];
      if (down === undefined) return;
      event.preventDefault();
      view.key = within(view.key + across, 0, length - 1);
      if (down) chooseQuery(view, view.query + down);
      pointAt(view, view.query, view.key);
      view.cellSaid.textContent = cellText(view, view.query, view.key);
      view.queryNames[view.query].scrollIntoView({block: "nearest", inline: "nearest"});
    });
  }

  function rectangle(node, left, top, width, height) {
    for (const [name, value] of Object.entries({x: left, y: top, width, height})) node.setAttribute(name, value);
  }

  function pointAt(view, query, key) {
    rectangle(view.field.querySelector(".cell"), key - 0.5, query - 0.5, key < 0 ? 0 : 1, key < 0 ? 0 : 1);
    view.keyNames.forEach((span, index) => span.classList.toggle("on", index === key));
    view.queryNames.forEach((span, index) => span.classList.toggle("on", index === query || (query < 0 && index === view.query)));
  }

  function cellText(view, query, key) {
    const {labels, lams} = view.reading, name = (index) => `${labels[index]} (token ${index})`, q = shownByte(view, query, key);
    if (q === undefined) return `${name(key)} comes later: ${name(query)} does not attend to it`;
    if (q === null) return `not read at ${setting(lam(), tau())}`;
    const other = lam() === lams[0] ? lams[lams.length - 1] : lams[0];
    const compared = other === lam() ? "" : `\nat λ = ${short(other)}: ${weightText(byteOf(view, other, tau(), view.layer, view.head, query, key))}`;
    return `${name(query)} → ${name(key)}: weight ${weightText(q)}, ${view.kinds && !kindOf(view, query, key) ? "outside" : KINDS[kindOf(view, query, key)]}${compared}`;
  }

  // Keys that are pointers or sinks for some query in the layer that is shown.
  function markKeys(view) {
    const is = (kind, key) => view.spans.some((_, query) => kindOf(view, query, key) === kind);
    view.keyNames.forEach((span, key) => {
      span.classList.toggle("sink", is(3, key));
      span.classList.toggle("pointer", !is(3, key) && is(2, key));
    });
    const there = [["▼ pointer", 2], ["■ sink", 3]].filter(([, kind]) => view.spans.some((_, key) => is(kind, key)));
    view.marks.textContent = there.map(([name]) => name).join("   ");
  }

  function showView(view) {
    const {reading, layer, head, query, length} = view;
    const row = reading.taus.indexOf(tau()), column = reading.lams.indexOf(lam());
    const start = `${setting(lam(), tau())}, layer ${reading.layers[layer]}, head ${reading.heads[head]}: `;
    if (row < 0 || column < 0) view.said.textContent = `${start}not read there. It was read at λ = ${reading.lams.map(short).join(", ")}, τ = ${reading.taus.map(short).join(", ")}.`;
    else {
      const entropy = reading.entropy_bits[row][column], mass = reading.block_mass[row][column];
      const mean = (table) => table.flat().reduce((sum, value) => sum + value, 0) / table.flat().length;
      const text = (bits, share) => `entropy ${bits.toFixed(2)} bits, block mass ${(100 * share).toFixed(1)} %`;
      view.said.textContent = `${start}${text(entropy[layer][head], mass[layer][head])}. Mean of the heads shown: ${text(mean(entropy), mean(mass))}.`;
    }
    paint(view.canvas, view, layer, head);
    const edges = view.kinds ? reading.layer_edges[layer] : reading.edges;
    view.edges.setAttribute("d", edges.map(([from, to]) => `M${from}L${to}`).join(""));
    if (view.kinds) markKeys(view);
    for (const one of view.heads) {
      paint(one.canvas, view, one.layer, one.head);
      one.button.setAttribute("aria-pressed", one.layer === layer && one.head === head);
    }
    rectangle(view.field.querySelector(".row"), -0.5, query - 0.5, reading.causal ? query + 1 : length, 1);
    pointAt(view, -1, -1);
    view.cellSaid.textContent = "";
    view.spans.forEach((span, key) => {
      const q = shownByte(view, query, key), seen = q !== undefined && q !== null;
      span.style.background = seen ? colour(q) : "";
      span.style.color = seen ? ink(q) : "";
      span.classList.toggle("inside", q !== undefined && kindOf(view, query, key) > 0);
      span.setAttribute("aria-selected", key === query);
      span.tabIndex = key === query ? 0 : -1;
      span.title = q === undefined ? "later: not attended to" : q === null ? "not read here" : `weight ${weightText(q)}`;
    });
  }

  // ---- Loss by token, at the lowest λ and at the one chosen.
  const losses = partsOf("losses").map((part, index) => {
    const reading = data.runs[index].reading, box = part.querySelector(".lossbox");
    if (!box) return null;
    const all = reading.loss.flat(2).filter((value) => value !== null), view = {reading, index, at: 1, paid: part.querySelector(".paid"), most: Math.max(...all, 0.1)};
    view.tokens = reading.labels.map((label, token) => {
      const node = add(box.firstChild, "div", {class: "token"}), bars = add(node, "div", {class: "bars"});
      view.bars = [...(view.bars || []), [add(bars, "i"), add(bars, "i")]];
      add(node, "span", {}, label);
      node.addEventListener("pointermove", (event) => showTip(lossText(view, token), event.clientX, event.clientY));
      node.addEventListener("pointerleave", hideTip);
      node.addEventListener("click", () => { if (views[index]) chooseQuery(views[index], token); });
      return node;
    });
    box.addEventListener("keydown", (event) => {
      const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
      if (!step) return;
      event.preventDefault();
      view.at = within(view.at + step, 0, reading.labels.length - 1);
      view.tokens[view.at].scrollIntoView({block: "nearest", inline: "nearest"});
      const area = view.tokens[view.at].getBoundingClientRect();
      showTip(lossText(view, view.at), area.left, area.top + 100);
      markToken(view, view.at);
    });
    return view;
  });

  const markToken = (view, at) => view.tokens.forEach((node, index) => node.classList.toggle("on", index === at));

  // The losses at the lowest λ and at the other one, or null where τ or λ was not read.
  function lossesNow({reading}) {
    const {lams} = reading, row = reading.loss[reading.taus.indexOf(tau())];
    const other = lam() === lams[0] ? lams[lams.length - 1] : lam();
    const there = row && row[lams.indexOf(other)];
    return there ? {from: lams[0], to: other, before: row[0], after: there} : null;
  }

  function lossText(view, token) {
    const now = lossesNow(view), label = view.reading.labels[token];
    if (!now) return `not read at ${setting(lam(), tau())}`;
    if (now.before[token] === null) return `${label}: the first token, which nothing predicts`;
    const [before, after] = [now.before[token], now.after[token]];
    return `${label} (token ${token})\nλ = ${short(now.from)}: ${before.toFixed(3)} nats\nλ = ${short(now.to)}: ${after.toFixed(3)} nats (${signed(after - before)})`;
  }
  const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;

  function showLosses(view) {
    const now = lossesNow(view), {reading, most} = view;
    view.tokens.forEach((node, token) => {
      const values = now && now.before[token] !== null ? [now.before[token], now.after[token]] : [0, 0];
      view.bars[token].forEach((bar, which) => { bar.style.height = `${100 * values[which] / most}%`; });
      node.classList.toggle("pays", values[1] > values[0]);
    });
    markToken(view, views[view.index] ? views[view.index].query : -1);
    if (!now) { view.paid.textContent = `Not read at ${setting(lam(), tau())}.`; return; }
    const tokens = reading.labels.map((label, token) => ({label, by: now.after[token] - now.before[token]})).slice(1);
    const mean = (list) => list.slice(1).reduce((sum, value) => sum + value, 0) / Math.max(list.length - 1, 1);
    const paying = tokens.filter((one) => one.by > 0.0005).sort((a, b) => b.by - a.by);
    view.paid.textContent = `Mean loss of this text at τ = ${short(tau())}: ${mean(now.before).toFixed(3)} nats at λ = ${short(now.from)}, ${mean(now.after).toFixed(3)} at λ = ${short(now.to)}. ` +
      (paying.length ? `${paying.length} of ${tokens.length} tokens cost more, most of all ${paying.slice(0, 3).map((one) => `${one.label} (${signed(one.by)})`).join(", ")}.` : "No token costs more.");
  }

  // ---- Reach: the tokens that can have influenced the prediction at the token under the pointer.
  const reaches = partsOf("reach").map((part, index) => {
    const reading = data.runs[index].reading;
    if (!reading || !reading.reach) return null;
    const words = part.querySelector(".reached"), length = reading.tokens.length;
    const view = {reach: reading.reach, labels: reading.labels, length, can: bytes(reading.reach.can), at: length - 1, said: part.querySelector(".reachsaid")};
    view.spans = reading.tokens.map((token) => add(words, "span", {}, token === "\n" ? "⏎\n" : token));
    const go = (at) => { view.at = within(at, 0, length - 1); showReach(view); };
    for (const name of ["pointerover", "click"]) {
      words.addEventListener(name, (event) => { if (view.spans.includes(event.target)) go(view.spans.indexOf(event.target)); });
    }
    words.addEventListener("keydown", (event) => {
      const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -length, End: length}[event.key];
      if (!step) return;
      event.preventDefault();
      go(view.at + step);
    });
    return view;
  });

  const canReach = ({can, length}, at, key) => can[(at * length + key) >> 3] >> (7 - (at * length + key) % 8) & 1;

  function showReach(view) {
    const {reach, at, labels} = view, exact = lam() === reach.lam && reach.taus.includes(tau());
    view.spans.forEach((span, key) => {
      const can = exact ? Boolean(canReach(view, at, key)) : key <= at;
      span.classList.toggle("on", key === at);
      span.classList.toggle("can", exact && can);
      span.classList.toggle("cannot", !can);
    });
    if (!exact) {
      const where = reach.taus.includes(tau()) ? "" : `, τ = ${reach.taus.map(short).join(" or ")}`;
      view.said.textContent = `At ${setting(lam(), tau())} attention outside is not exactly 0, so any token up to ${labels[at]} can have influenced what follows. Turn the dial to λ = ${short(reach.lam)}${where}.`;
      return;
    }
    const keys = labels.map((_, key) => key).filter((key) => canReach(view, at, key));
    const blocks = new Set(keys.map((key) => reach.blocks[key])).size;
    view.said.textContent = `After ${labels[at]} (token ${at}): ${keys.length} of ${at + 1} tokens, in ${blocks} ${blocks === 1 ? "block" : "blocks"}, can have influenced what is predicted; no other token can. This holds ${reach.holds}, by ${reach.why}.`;
  }

  // ---- The dial.
  byId("dial").hidden = byId("dial-panel").hidden = false;
  const views = partsOf("attention").map(viewOf);

  function show() {
    byId("dial-lam-value").textContent = short(lam());
    slider.setAttribute("aria-valuetext", `λ = ${short(lam())}`);
    charts.forEach(showChart);
    samples.forEach(showSample);
    views.filter(Boolean).forEach(showView);
    reaches.filter(Boolean).forEach(showReach);
    losses.filter(Boolean).forEach(showLosses);
    const NAMES = {perplexity_token: "perplexity per token", accuracy: "accuracy", entropy_bits: "attention entropy in bits", block_mass: "block mass"};
    byId("dial-said").textContent = `${setting(lam(), tau())}. ` + data.runs.filter((run) => run.cells.length).map((run) =>
      Object.entries(NAMES).map(([field, name]) => `${name} ${valueText(run, cellAt(run, lam(), tau()), field)}`).join(", ")).join("; ");
  }

  function choose() {
    show();
    // The address remembers the setting; a page inside a frame may not change its address.
    const address = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : ""), view = views.find(Boolean);
    const kept = {lam: short(lam()), tau: short(tau()), ...(view && {layer: view.reading.layers[view.layer], head: view.reading.heads[view.head], query: view.query})};
    for (const [name, value] of Object.entries(kept)) address.set(name, value);
    try { history.replaceState(null, "", `#${address}`); } catch { return; }
  }

  function fromAddress() {
    const wanted = new URLSearchParams(location.hash.slice(1)), view = views.find(Boolean);
    const place = (numbers, name) => numbers.findIndex((number) => short(number) === wanted.get(name));
    const one = place(data.lams, "lam"), other = place(data.taus, "tau");
    if (one >= 0) slider.value = one;
    if (other >= 0) select.value = other;
    if (view) {
      view.layer = Math.max(0, place(view.reading.layers, "layer"));
      view.head = Math.max(0, place(view.reading.heads, "head"));
      if (/^\d+$/.test(wanted.get("query"))) view.query = within(Number(wanted.get("query")), 0, view.length - 1);
    }
    show();
  }

  slider.addEventListener("input", choose);
  select.addEventListener("change", choose);
  addEventListener("hashchange", fromAddress);
  fromAddress();

  // ---- Tables are sorted by their headings; a print shows what is folded.
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
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const one of folded) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of folded) one.open = false; });
})();
