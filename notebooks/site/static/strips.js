// Draw, and two strips learn it: gradient descent on half the squared error of BA, as one watches.
{
  const WORDS = {
    draw: "Type a name, or draw in its picture", clear: "Clear", rank: "Rank r", rate: "Learning rate",
    start: "Start of the strips", starts: {lora: "LoRA's: B zero", zero: "both zero",
      tiny: "both tiny"}, play: "▶ Learn", pause: "❚❚ Pause", step: "10 steps",
    again: "From the start", A: "A", B: "B", made: "BA, what the strips make", target: "your drawing: draw here",
    left: "what is still missing: drawing − BA", canvas: "Your drawing. Arrow keys move, the space bar paints.",
    cell: "Row {i}, column {j}: {ink}.", ink: ["empty", "painted"],
    strengths: "The drawing's patterns (directions), strongest first: their singular values; blue: what BA has",
    curve: "How much is missing, step by step; dashed: the least with rank {r}",
    trained: "{trained} numbers train; the drawing has {drawn}.",
    said: "Step {step}: {off} of the drawing is still missing (with rank {r}, at best {floor}).",
    broken: "Step {step}: the steps are too large, and the numbers ran away. Take a smaller rate.",
    little: "less than 0.1%", empty: "There is nothing to learn: draw something.",
  };
  const D = 24, K = 48, BARS = 8, words = window.loraWords?.strips ?? WORDS;
  const {lang, fill} = loraPieces;
  const percent = share => share > 0 && share < 0.001 ? words.little : share.toLocaleString(lang, {style: "percent", maximumSignificantDigits: 2});
  const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());

  // Matrices are lists of numbers, row by row. C (n × m) = A (n × l) B (l × m).
  const product = (A, B, n, l, m) => {
    const C = new Float64Array(n * m);
    for (let i = 0; i < n; i++) for (let q = 0; q < l; q++) if (A[i * l + q])
      for (let j = 0, a = A[i * l + q]; j < m; j++) C[i * m + j] += a * B[q * m + j];
    return C;
  };
  const turned = (A, n, m) => Float64Array.from(A, (_, i) => A[i % n * m + Math.floor(i / n)]);
  // With E = BA − T, the loss is ½ ‖E‖², and its slopes are Bᵀ E for A, and E Aᵀ for B.
  const slopes = (A, B, T, r) => {
    const E = product(B, A, D, r, K).map((made, i) => made - T[i]);
    return {E, A: product(turned(B, D, r), E, r, D, K), B: product(E, turned(A, r, K), D, K, r)};
  };
  const directions = T => loraPieces.directions(Array.from({length: D}, (_, i) => T.slice(i * K, i * K + K)))
    .map(({size, u, row}) => ({size, u, v: row.map(each => each / (size || 1))}));
  window.loraStrips = {slopes, directions};

  const letters = text => { // a text as ink or none in each cell, as wide and high as there is room
    const canvas = Object.assign(document.createElement("canvas"), {width: 1600, height: 300});
    const pen = canvas.getContext("2d", {willReadFrequently: true}), T = new Float64Array(D * K);
    pen.font = 'bold 150px "DejaVu Sans", Verdana, Arial, sans-serif';
    pen.fillText(text, 50, 200);
    const ink = pen.getImageData(0, 0, 1600, 300).data, on = [];
    for (let i = 0; i < 1600 * 300; i++) if (ink[4 * i + 3] > 127) on.push([i % 1600, Math.floor(i / 1600)]);
    const [xs, ys] = [0, 1].map(axis => on.map(point => point[axis]));
    const ends = list => [list.reduce((a, b) => Math.min(a, b), 1e4), list.reduce((a, b) => Math.max(a, b), 0) + 1];
    const [[left, right], [top, bottom]] = [ends(xs), ends(ys)], wide = K - 4, high = D - 4;
    for (let i = 0; i < high; i++) for (let j = 0; j < wide; j++) { // is there ink at a cell's middle?
      const y = Math.floor(top + (i + 0.5) / high * (bottom - top));
      const x = Math.floor(left + (j + 0.5) / wide * (right - left));
      T[(2 + i) * K + 2 + j] = +(ink[4 * (1600 * y + x) + 3] > 127);
    }
    return T;
  };
  const shade = value => { // from blue over grey to yellow, as in the lessons
    const x = Math.max(-1, Math.min(1, value)), end = x > 0 ? [253, 231, 55] : [0, 32, 76];
    return [124, 123, 120].map((grey, i) => grey + (end[i] - grey) * Math.abs(x));
  };
  const paint = (canvas, M, n, m, scale = 1) => {
    if (canvas.width !== m || canvas.height !== n) Object.assign(canvas, {width: m, height: n});
    const pixels = new ImageData(m, n);
    M.forEach((value, i) => pixels.data.set([...shade(value * scale), 255], 4 * i));
    canvas.getContext("2d").putImageData(pixels, 0, 0);
  };

  const picture = name => `<figure class="${name}"><canvas role="img" aria-label="${words[name]}"></canvas><figcaption>${words[name]}</figcaption></figure>`;
  const HTML = `<div class="fields"><label>${words.draw} <input maxlength="8" value="LIT" autocomplete="off"></label>
      <button type="button">${words.clear}</button></div>
    <div class="pictures">${["A", "B", "made", "target"].map(picture).join("")}</div><output></output>
    <div class="fields"><button type="button">${words.play}</button><button type="button">${words.step}</button>
      <button type="button">${words.again}</button></div>
    <div class="fields"><label>${words.rank} <b></b><input type="range" min="1" max="${D}" value="3"></label>
      <label>${words.rate} <b></b><input type="range" min="-3" max="-0.5" step="0.05" value="-1.9"></label>
      <label>${words.start} <select>${Object.entries(words.starts).map(([value, text]) =>
        `<option value="${value}">${text}</option>`).join("")}</select></label></div>
    <div class="told">${picture("left")}<figure><svg class="bars" viewBox="0 0 ${BARS} 1" preserveAspectRatio="none" role="img"
      aria-label="${words.strengths}">${"<rect/><rect/>".repeat(BARS)}</svg><figcaption>${words.strengths}</figcaption></figure>
      <figure><svg class="curve" viewBox="0 0 1 1" preserveAspectRatio="none" role="img"><line x2="1"/><polyline/></svg>
      <figcaption></figcaption></figure></div><p class="trained"></p>`;
  for (const box of document.querySelectorAll("[data-explorable=strips]")) {
    box.insertAdjacentHTML("afterbegin", HTML);
    const all = kind => [...box.querySelectorAll(kind)];
    const [name, rank, rate] = all("input"), [clear, play, step, again] = all("button");
    const [start] = all("select"), [cA, cB, cMade, cTarget, cLeft] = all("canvas");
    const [rankSaid, rateSaid] = all("b"), [curve] = all(".curve figcaption, .curve + figcaption");
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    let T, axes, A, B, r, steps, history, broken, timer, playing = false, cursor = [D >> 1, K >> 1];
    const norm = M => Math.hypot(...M), lr = () => 10 ** rate.value;
    const floor = () => norm(T) ? norm(axes.slice(r).map(({size}) => size)) / norm(T) : 0; // what rank r leaves
    const reset = () => {
      r = +rank.value;
      const random = size => () => size * normal(), none = () => 0;
      const [forA, forB] = {lora: [random(K ** -0.5), none], zero: [none, none],
        tiny: [random(1e-3), random(1e-3)]}[start.value];
      A = Float64Array.from({length: r * K}, forA);
      B = Float64Array.from({length: D * r}, forB);
      [steps, history, broken] = [0, [1], false];
      show();
    };
    const learn = count => {
      for (; norm(T) && count && !broken; count--) {
        const {A: slopeA, B: slopeB} = slopes(A, B, T, r), size = lr();
        A = A.map((value, i) => value - size * slopeA[i]);
        B = B.map((value, i) => value - size * slopeB[i]);
        steps++;
        history.push(norm(product(B, A, D, r, K).map((made, i) => T[i] - made)) / norm(T));
        broken = !(history.at(-1) < 50);
      }
    };
    const aim = drawing => { T = drawing; axes = directions(T); reset(); };
    const show = () => {
      const E = slopes(A, B, T, r).E, off = norm(T) ? norm(E) / norm(T) : 0;
      const most = M => 1 / Math.max(1e-9, ...M.map(Math.abs));
      paint(cA, A, r, K, Math.min(most(A), 1e3));
      paint(cB, B, D, r, Math.min(most(B), 1e3));
      paint(cMade, E.map((each, i) => each + T[i]), D, K);
      paint(cLeft, E.map(each => -each), D, K);
      paint(cTarget, T.map((each, i) => cTarget.matches(":focus-visible")
        && i === cursor[0] * K + cursor[1] ? -1 : each), D, K);
      const longest = axes[0].size || 1;
      all("rect").forEach((bar, i) => {
        const {size, u, v} = axes[i >> 1];
        const has = product(product(u, B, 1, D, r), product(A, v, r, K, 1), 1, r, 1)[0];
        const high = (i % 2 ? Math.max(0, Math.min(has, size)) : size) / longest;
        for (const [key, value] of Object.entries({x: (i >> 1) + 0.1, y: 1 - high, width: 0.8, height: high}))
          bar.setAttribute(key, value);
      });
      const last = Math.max(200, history.length - 1);
      all("polyline")[0].setAttribute("points", history.map((each, i) =>
        `${i / last},${1 - 0.98 * Math.min(1, each)}`).join(" "));
      for (const end of ["y1", "y2"]) all("line")[0].setAttribute(end, 1 - 0.98 * floor());
      rankSaid.textContent = r;
      rate.ariaValueText = rateSaid.textContent = lr().toLocaleString(lang, {maximumSignificantDigits: 2});
      const values = {step: steps, r, off: percent(off), floor: percent(floor()),
        trained: (r * (D + K)).toLocaleString(lang), drawn: (D * K).toLocaleString(lang)};
      all(".trained")[0].textContent = fill(words.trained, values);
      all(".curve")[0].ariaLabel = curve.textContent = fill(words.curve, values);
      all("output")[0].textContent = fill(norm(T) ? broken ? words.broken : words.said : words.empty, values);
      all("output")[0].ariaLive = playing ? "off" : "polite";
      play.textContent = playing ? words.pause : words.play;
    };
    const frame = () => {
      if (!playing) return;
      learn(1);
      if (broken || history.at(-1) - floor() < 1e-3) playing = false;
      show();
      timer = requestAnimationFrame(frame);
    };
    const run = on => { cancelAnimationFrame(timer); playing = on; show(); frame(); };
    name.oninput = () => {
      if (!name.value.trim()) return;
      aim(letters(name.value.trim()));
      if (!still) run(true);
    };
    clear.onclick = () => { name.value = ""; aim(new Float64Array(D * K)); };
    rank.oninput = start.onchange = again.onclick = () => {
      const goes = playing || steps > 0;
      reset();
      if (goes && !still) run(true);
    };
    rate.oninput = show;
    play.onclick = () => { if (broken) reset(); run(!playing); };
    step.onclick = () => { run(false); learn(10); show(); };
    const ink = (i, j, value) => { // a pen of 2 × 2 cells
      for (const [y, x] of [[i, j], [i + 1, j], [i, j + 1], [i + 1, j + 1]])
        if (y >= 0 && y < D && x >= 0 && x < K) T[y * K + x] = value;
    };
    cTarget.onpointermove = cTarget.onpointerdown = event => {
      if (!(event.buttons & 1)) return;
      const {left, top, width, height} = cTarget.getBoundingClientRect();
      ink(Math.floor((event.clientY - top) / height * D), Math.floor((event.clientX - left) / width * K),
        event.shiftKey ? 0 : 1);
      aim(T);
    };
    cTarget.onpointerup = () => { if (!still) run(true); };
    cTarget.tabIndex = 0;
    cTarget.role = "application";
    cTarget.ariaLabel = words.canvas;
    cTarget.onfocus = cTarget.onblur = show;
    cTarget.onkeydown = event => {
      const move = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], " ": [0, 0]}[event.key];
      if (!move) return;
      event.preventDefault();
      cursor = [(cursor[0] + move[0] + D) % D, (cursor[1] + move[1] + K) % K];
      const at = cursor[0] * K + cursor[1];
      if (event.key === " ") {
        ink(...cursor, T[at] ? 0 : 1);
        aim(T);
        if (!still) run(true);
      } else show();
      if (!playing) all("output")[0].textContent = fill(words.cell, {i: cursor[0] + 1, j: cursor[1] + 1,
        ink: words.ink[T[at]]});
    };
    aim(letters("LIT"));
    let seen = still || !document.querySelector(".front"); // elsewhere one guesses first
    new IntersectionObserver(([{isIntersecting}]) => { // it begins when it is first seen, once
      if (isIntersecting && !seen) { seen = true; run(true); }
      if (!isIntersecting && playing) run(false);
    }, {threshold: 0.4}).observe(box);
  }
}
