"use strict";
(() => {
  const part = (name) => document.getElementById(`attention-${name}`);
  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const data = JSON.parse(part("data").textContent);
  const weights = bytes(data.weights), ramp = bytes(data.ramp), inside = bytes(data.inside);
  const length = data.tokens.length, cells = data.causal ? length * (length + 1) / 2 : length * length;
  const sliders = {lam: part("lam"), layer: part("layer"), head: part("head"), query: part("query")};
  const cell = Math.max(4, Math.floor(560 / length));
  const small = document.createElement("canvas");
  const edge = data.edge;
  document.documentElement.style.setProperty("--edge", edge);

  const short = (number) => String(+number.toPrecision(6));
  const bits = (number) => `${number.toFixed(2)} bits`;
  const share = (number) => `${(100 * number).toFixed(1)} %`;
  const colour = (q) => `rgb(${ramp[3 * q]}, ${ramp[3 * q + 1]}, ${ramp[3 * q + 2]})`;
  const ink = (q) => q > 165 ? "#000000" : "#ffffff";
  const isInside = (query, key) => inside[(query * length + key) >> 3] >> (7 - (query * length + key) % 8) & 1;
  const chosen = () => Object.fromEntries(Object.entries(sliders).map(([name, control]) => [name, Number(control.value)]));

  // The byte of a weight, round(255 √w); undefined for a key that the query may not attend to.
  function byteOf({lam, layer, head}, query, key) {
    if (data.causal && key > query) return undefined;
    const map = (lam * data.layers + layer) * data.heads + head;
    return weights[map * cells + (data.causal ? query * (query + 1) / 2 : query * length) + key];
  }
  const weightOf = (q) => (q / 255) ** 2;

  function paint(canvas, setting) {
    canvas.width = canvas.height = length;
    const context = canvas.getContext("2d"), image = context.createImageData(length, length);
    for (let query = 0; query < length; query += 1) {
      for (let key = 0; key < length; key += 1) {
        const q = byteOf(setting, query, key);
        if (q !== undefined) image.data.set([ramp[3 * q], ramp[3 * q + 1], ramp[3 * q + 2], 255], 4 * (query * length + key));
      }
    }
    context.putImageData(image, 0, 0);
  }

  function drawMap(setting) {
    const canvas = part("map"), context = canvas.getContext("2d");
    paint(small, setting);
    canvas.width = canvas.height = cell * length;
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    context.strokeStyle = edge;
    context.lineWidth = Math.max(1, cell / 8);
    for (const [[x, y], [toX, toY]] of data.edges) {
      context.beginPath();
      context.moveTo((x + 0.5) * cell, (y + 0.5) * cell);
      context.lineTo((toX + 0.5) * cell, (toY + 0.5) * cell);
      context.stroke();
    }
    context.strokeStyle = "#ffffff";
    context.lineWidth = 2;
    context.strokeRect(1, setting.query * cell + 1, (data.causal ? setting.query + 1 : length) * cell - 2, cell - 2);
  }

  const heads = [];
  part("heads").style.gridTemplateColumns = `repeat(${data.heads}, minmax(1.5rem, 1fr))`;
  for (let layer = 0; layer < data.layers; layer += 1) {
    for (let head = 0; head < data.heads; head += 1) {
      const button = document.createElement("button"), canvas = document.createElement("canvas");
      button.type = "button";
      button.title = `layer ${layer}, head ${head}`;
      button.setAttribute("aria-label", button.title);
      button.append(canvas);
      button.addEventListener("click", () => { sliders.layer.value = layer; sliders.head.value = head; choose(); });
      part("heads").append(button);
      heads.push({layer, head, button, canvas});
    }
  }
  for (const weight of [0, 0.01, 0.05, 0.2, 0.5, 1]) {
    const swatch = document.createElement("span"), q = Math.round(255 * Math.sqrt(weight));
    swatch.textContent = weight;
    swatch.style.background = colour(q);
    swatch.style.color = ink(q);
    part("legend").append(swatch);
  }
  const words = data.tokens.map((token, index) => {
    const word = document.createElement("span");
    word.textContent = token === "\n" ? "⏎\n" : token;
    word.addEventListener("click", () => { sliders.query.value = index; choose(); });
    part("text").append(word);
    return word;
  });

  function showWords(setting) {
    words.forEach((word, key) => {
      const q = byteOf(setting, setting.query, key);
      word.style.background = q === undefined ? "" : colour(q);
      word.style.color = q === undefined ? "" : ink(q);
      word.classList.toggle("inside", q !== undefined && Boolean(isInside(setting.query, key)));
      word.classList.toggle("query", key === setting.query);
      word.title = q === undefined ? "later: not attended to" : `weight ${weightOf(q).toFixed(4)}`;
    });
  }

  const mean = (table) => table.flat().reduce((sum, value) => sum + value, 0) / (data.layers * data.heads);

  function show() {
    const setting = chosen(), {lam, layer, head, query} = setting;
    const entropy = data.entropy_bits[lam], mass = data.block_mass[lam];
    part("lam-value").textContent = short(data.lams[lam]);
    part("query-value").textContent = `${data.labels[query]} (token ${query})`;
    sliders.lam.setAttribute("aria-valuetext", `λ = ${short(data.lams[lam])}`);
    sliders.query.setAttribute("aria-valuetext", `token ${query}, ${data.labels[query]}`);
    part("said").textContent = `λ = ${short(data.lams[lam])}, τ = ${short(data.tau)}, layer ${layer}, head ${head}: ` +
      `entropy ${bits(entropy[layer][head])}, block mass ${share(mass[layer][head])}. ` +
      `Mean of all heads: entropy ${bits(mean(entropy))}, block mass ${share(mean(mass))}.`;
    drawMap(setting);
    for (const one of heads) {
      paint(one.canvas, {lam, layer: one.layer, head: one.head});
      one.button.setAttribute("aria-pressed", one.layer === layer && one.head === head);
    }
    showWords(setting);
    part("cell").textContent = "";
  }

  function choose() {
    show();
    const {lam, layer, head, query} = chosen();
    const address = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
    for (const [name, value] of Object.entries({alam: short(data.lams[lam]), layer, head, query})) address.set(name, value);
    // A page inside a frame may not change its address.
    try { history.replaceState(null, "", `#${address}`); } catch { return; }
  }

  function fromAddress() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const lam = data.lams.findIndex((number) => short(number) === wanted.get("alam"));
    if (lam >= 0) sliders.lam.value = lam;
    for (const name of ["layer", "head", "query"]) if (/^\d+$/.test(wanted.get(name))) sliders[name].value = wanted.get(name);
    show();
  }

  part("map").addEventListener("pointermove", (event) => {
    const box = part("map").getBoundingClientRect();
    const [key, query] = [event.clientX - box.left, event.clientY - box.top].map((at) => Math.min(length - 1, Math.max(0, Math.floor(at * length / box.width))));
    const q = byteOf(chosen(), query, key);
    part("cell").textContent = q === undefined ? "a later key: not attended to"
      : `${data.labels[query]} (token ${query}) attends to ${data.labels[key]} (token ${key}) with weight ${weightOf(q).toFixed(4)}, ` +
        `${isInside(query, key) ? "inside" : "outside"} its block`;
  });
  part("map").addEventListener("click", (event) => {
    const box = part("map").getBoundingClientRect();
    sliders.query.value = Math.floor((event.clientY - box.top) * length / box.height);
    choose();
  });
  for (const control of Object.values(sliders)) control.addEventListener("input", choose);
  window.addEventListener("hashchange", fromAddress);
  part("static").hidden = true;
  part("panel").hidden = false;
  fromAddress();
})();
