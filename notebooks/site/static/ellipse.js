// A circle becomes an ellipse: what a 2 × 2 matrix does to all inputs of length 1 (lesson 02).
// From loraData.ellipse: `presets`, matrices by name; `limit` and `step` of the sliders.
{
  const WORDS = {
    start: "Start from", own: "your own numbers", matrix: "The matrix M",
    machine: "the lesson's machine", turn: "a turn", mirror: "a mirror", stretch: "a stretch",
    shear: "a shear", almost: "almost flat", flat: "flat: rank 1", zeros: "nothing but zeros",
    entry: "row {row}, column {column}", hand: "angle of the input v",
    play: "▶ Play", stop: "❚❚ Stop", next: "▶ Next", axes: "show the singular vectors",
    copy: "keep the first direction only", zero: "So does every input: the rank is 0.",
    inputs: "inputs: a circle", outputs: "their outputs", copied: "outputs of the copy",
    at: "At {angle} the input v, of length 1, comes out {length} long.",
    equal: "So does every input: a circle again. v₁ and v₂ are one choice of many.",
    long: "No output is longer: this is σ₁.", short: "No output is shorter: this is σ₂.",
    right: "Mv and Mw stand at right angles, as v and w do.",
    bent: "v and w stand at right angles, Mv and Mw at {gap}.",
    line: "All outputs lie on one line: the rank is 1.",
    copies: "At {angle} the copy of rank 1 comes out {length} long, M itself {full}. Their "
      + "tips are {off} apart, and nowhere more than σ₂ = {s2}: the error of the copy.",
    facts: {length: "length out", s1: "σ₁", first: "longest at", s2: "σ₂", second: "shortest at",
      gap: "Mv to Mw", off: "tips apart", rank: "rank", area: "area, ellipse ÷ circle"},
  };
  const {lang, fill} = loraPieces, words = window.loraWords?.ellipse ?? WORDS;
  const print = (x, to) => x.toLocaleString(lang, {maximumFractionDigits: to}).replace("-", "−");
  const unit = angle => [Math.cos(angle * Math.PI / 180), Math.sin(angle * Math.PI / 180)];
  const times = ([a, b, c, d], [x, y]) => [a * x + b * y, c * x + d * y];
  const modulo = (angle, turn) => (Math.round(angle * 1e9) / 1e9 % turn + turn) % turn;
  const work = (M, hand, copy) => { // M = [a, b, c, d], by rows
    const [a, b, c, d] = M, TINY = 1e-9; // what is shorter comes from rounding
    const s1 = (Math.hypot(a + d, c - b) + Math.hypot(a - d, b + c)) / 2;
    const s2 = s1 && Math.abs(a * d - b * c) / s1, equal = s1 - s2 < TINY;
    const twice = Math.atan2(b + c, a - d) - Math.atan2(c - b, a + d);
    const first = equal ? 0 : modulo(twice * 90 / Math.PI, 180); // where v₁ stands
    const v1 = unit(first), v2 = [-v1[1], v1[0]];
    const quarters = Math.round((hand - first) / 90), near = first + 90 * quarters;
    const on = !equal && Math.abs(hand - near) <= 0.5; // v₁ need not stand at a whole degree
    const angle = on ? near : hand, v = unit(angle), w = [-v[1], v[0]];
    const used = copy ? times(M, v1).flatMap(x => [x * v1[0], x * v1[1]]) : M; // σ₁ u₁ v₁ᵀ
    const [Mv, out, other] = [times(M, v), times(used, v), times(used, w)];
    const length = Math.hypot(...out), area = Math.abs(used[0] * used[3] - used[1] * used[2]);
    const between = Math.atan2(area, out[0] * other[0] + out[1] * other[1]) * 180 / Math.PI;
    const gap = Math.min(length, Math.hypot(...other)) < TINY ? NaN : between;
    const angles = {angle: modulo(angle, 360), gap, first: equal ? NaN : first,
      second: equal ? NaN : modulo(first + 90, 180)};
    const lengths = {s1, s2, length, area, rank: (s1 > TINY) + (s2 > TINY && !copy),
      full: Math.hypot(...Mv), off: Math.hypot(Mv[0] - out[0], Mv[1] - out[1])};
    const parts = copy ? ["copies"] : s1 < TINY ? ["at", "zero"] : equal ? ["at", "equal"]
      : ["at", on && (quarters % 2 ? "short" : "long"),
        s2 < TINY ? "line" : on ? "right" : "bent"].filter(Boolean);
    return {angles, lengths, parts, used, v, w, v1, v2, Mv, out, other};
  };

  // A plot, in units of the circle: lines as [kind, points], vectors as [kind, tip, name].
  const ring = M => Array.from({length: 121}, (_, i) => times(M, unit(3 * i)));
  const ENDS = {in: "M7 0a7 7 0 1 0 0 .1z", out: "M-7-7h14v14h-14z", axis: "M0 0l-12-5v10z"};
  const plot = (title, scale, lines, vectors) => {
    const line = ([kind, points]) => `<polyline class="${kind}" points="${
      points.map(([p, q]) => [scale * p, -scale * q]).join(" ")}"/>`;
    const vector = ([kind, tip, name]) => { // its name beyond the tip of an axis, beside a hand
      const p = scale * tip[0], q = -scale * tip[1], long = Math.hypot(p, q);
      const axis = kind === "axis", side = kind.includes("other") ? -16 : 16;
      const [along, aside] = axis ? [1 + 20 / long, 0] : [0.55, side / long];
      const [x, y] = [along * p - aside * q, along * q + aside * p + 6];
      const end = axis && long < 12 ? "" : ENDS[kind] || "", way = Math.atan2(q, p) * 180 / Math.PI;
      return line([kind, [[0, 0], tip]])
        + `<path class="${kind}" d="${end}" transform="translate(${p} ${q}) rotate(${way})"/>`
        + (long < 20 ? "" : `<text class="${kind}" x="${x}" y="${y}">${name}</text>`);
    };
    return [`<text class="title" x="-165" y="-144">${title}</text>`,
      line(["circle", ring([1, 0, 0, 1])]), ...lines.map(line), ...vectors.map(vector)].join("");
  };

  document.querySelectorAll('[data-explorable="ellipse"]').forEach(root => {
    const {presets, limit, step} = loraData.ellipse;
    const option = name => `<option value="${name}">${words[name]}</option>`;
    const range = (label, set) => `<label class="range"><span>${label}</span>
      <b aria-hidden="true"></b><input type="range" ${set}></label>`;
    const entry = i => range(fill(words.entry, {row: (i >> 1) + 1, column: i % 2 + 1}),
      `min="${-limit}" max="${limit}" step="${step}"`);
    const check = (name, set) =>
      `<label class="check"><input type="checkbox" name="${name}" ${set}> ${words[name]}</label>`;
    root.innerHTML = `<label class="start">${words.start}
        <select>${[...Object.keys(presets), "own"].map(option).join("")}</select></label>
      <fieldset><legend>${words.matrix}</legend>${[0, 1, 2, 3].map(entry).join("")}</fieldset>
      <div class="plots" role="img">
        ${'<svg viewBox="-170 -160 340 320" aria-hidden="true"></svg>'.repeat(2)}</div>
      <div class="turn">${range(words.hand, 'max="359" value="0"')}<button></button></div>
      ${check("axes", "checked") + check("copy", "")}<p class="said"></p>
      <p class="live" aria-live="polite"></p><dl></dl>`;
    const [start, plots, button, said, live, facts] = ["select", ".plots", "button", ".said",
      ".live", "dl"].map(selector => root.querySelector(selector)), [left, right] = plots.children;
    const [a, b, c, d, hand, , copy] = root.querySelectorAll("input"), entries = [a, b, c, d];
    const calm = matchMedia("(prefers-reduced-motion: reduce)");
    let playing = 0, waiting = 0;
    const draw = () => {
      const M = entries.map(input => +input.value), copied = copy.checked;
      const title = copied ? words.copied : words.outputs, texts = {};
      const {angles, lengths, parts, ...r} = work(M, +hand.value, copied);
      const scale = Math.min(95, 128 / Math.max(1.35, lengths.s1)); // one for both circles
      for (const [key, x] of Object.entries(lengths)) texts[key] = print(x, 2);
      for (const [key, x] of Object.entries(angles)) texts[key] = x >= 0 ? `${print(x, 1)}°` : "–";
      left.innerHTML = plot(words.inputs, scale, [], [["axis", r.v2, "v₂"], ["axis", r.v1, "v₁"],
        ["in other", r.w, "w"], ["in", r.v, "v"]]);
      right.innerHTML = plot(title, scale,
        [["whole", ring(M)], ["ellipse", ring(r.used)], ["missing", [r.out, r.Mv]]],
        [["axis", times(M, r.v2), "σ₂u₂"], ["axis", times(M, r.v1), "σ₁u₁"],
          ...copied ? [["out other", r.Mv, "Mv"], ["out", r.out, "M₁v"]]
            : [["out other", r.other, "Mw"], ["out", r.out, "Mv"]]]);
      for (const at of entries) at.previousElementSibling.textContent = print(+at.value, 1);
      hand.ariaValueText = hand.previousElementSibling.textContent = texts.angle;
      said.textContent = parts.map(part => fill(words[part], texts)).join(" ");
      plots.ariaLabel = `${words.inputs}; ${title}; ${said.textContent}`;
      facts.innerHTML = Object.keys(words.facts).map(name => `<div class="${name}">
        <dt>${words.facts[name]}</dt><dd><data value="${{...angles, ...lengths}[name]}">
        ${texts[name]}</data></dd></div>`).join("");
      clearTimeout(waiting);
      waiting = setTimeout(() => { live.textContent = said.textContent; }, 500);
    };
    const stop = () => {
      playing = clearInterval(playing);
      button.textContent = calm.matches ? words.next : words.play;
    };
    const turnTo = angle => { hand.value = modulo(Math.round(angle), 360); draw(); };
    button.onclick = () => {
      if (playing) return stop();
      if (calm.matches) return turnTo(+hand.value + 15);
      let left = 360; // degrees: once around
      playing = setInterval(() => { turnTo(+hand.value + 1); if (!--left) stop(); }, 40);
      button.textContent = words.stop;
    };
    root.oninput = ({target}) => {
      const chosen = target === start && presets[start.value];
      if (chosen) chosen.flat().forEach((x, i) => { entries[i].value = x; });
      if (entries.includes(target)) start.value = "own";
      if (target === hand) stop();
      draw();
    };
    left.onpointerdown = left.onpointermove = event => {
      if (event.type === "pointerdown") left.setPointerCapture(event.pointerId);
      if (!left.hasPointerCapture(event.pointerId)) return;
      const {x, y, width, height} = left.getBoundingClientRect();
      stop();
      turnTo(Math.atan2(y + height / 2 - event.y, event.x - x - width / 2) * 180 / Math.PI);
    };
    stop();
    root.oninput({target: start});
    clearTimeout(waiting); // whoever listens hears what changes, not what the page begins with
  });
}
