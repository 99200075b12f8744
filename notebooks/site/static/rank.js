// How many directions does it need? A matrix, its best copy with r of them, and what is left.
// From loraData.rank: matrices of lessons 01 and 02, the outlines of letters, the colours.
{
  const WORDS = {
    kind: "Matrix", name: "Name", less: "one direction less", more: "one direction more",
    r: "Directions r", kinds: {name: "a name, as a picture", update: "the update BA of lesson 01",
      noise: "the noise W₀ of lesson 01", house: "the house of lesson 02"},
    pictures: [["The matrix", "exact with {rank}"], ["Its best copy", "{strips} numbers "
      + "against {square}"], ["What is left", "{off} off"]],
    curves: "How far off the best copy is, for each r. Solid: {what}, {off} at r = {r}. "
      + "Dashed: {other}, {otherOff}.", even: "r = 50: as many numbers as the square",
    said: "With r = {r}, the best copy of {what} is {off} off. From r = {near} on it is at most "
      + "1% off, from r = {rank} on exact. Its strips hold {strips} numbers, the square {square}.",
    empty: "Type at least one letter. Until then, {what} stays.",
    unknown: "“{letter}” is not here: take Latin letters and digits. Until then, {what} stays.",
  };
  const data = loraData.rank, SIZE = 100, EXAMPLES = ["ANNA", "LILI", "H", "X"];
  const {lang, fill, each, directions} = loraPieces, words = window.loraWords?.rank ?? WORDS;
  const number = (value, style) => value.toLocaleString(lang, {style, maximumSignificantDigits: 3});

  // Columns, each times its row, added up. (Matrices are lists of rows.)
  const product = (columns, rows) => {
    const sum = Array.from({length: SIZE}, () => new Float64Array(SIZE));
    for (let n = 0; n < columns.length; n++) for (let i = 0; i < SIZE; i++)
      for (let j = 0; j < SIZE; j++) sum[i][j] += columns[n][i] * rows[n][j];
    return sum;
  };
  // A text as `letters` of lora_edu.course.plots draws it: each entry is the share of 4 × 4 points
  // of its cell that outlines turn around: each edge to the left of a point counts, as +1 or -1.
  const letters = text => {
    const edges = [], shares = product([], []), fine = 4 * SIZE;
    let start = 0;
    for (const [width, parts] of [...text].map(letter => data.letters[letter])) {
      for (const [nth, right, up] of parts) data.outlines[nth].forEach(([x, y], i, outline) => {
        const [u, v] = outline[(i + 1) % outline.length];
        edges.push([x + right + start, y + up, u + right + start, v + up].map(n => n / data.em));
      });
      start += width;
    }
    const [xs, ys] = [0, 1].map(axis => edges.map(edge => edge[axis]));
    const left = Math.min(...xs), wide = Math.max(...xs) - left;
    const low = Math.min(...ys), high = Math.max(...ys) - low;
    const at = Array.from({length: fine}, (_, i) => ((i + 0.5) / fine - 0.06) / 0.88);
    const columns = at.map(share => left + share * wide);
    for (let i = 0; i < fine; i++) {
      const turns = new Int8Array(fine), level = low + (1 - at[i]) * high;
      for (const [x, y, u, v] of edges) if ((y >= level) !== (v >= level)) {
        const edge = x + (level - y) * (u - x) / (v - y);
        turns[columns.findIndex(column => column > edge)] += y >= level ? 1 : -1;
      }
      for (let j = 0, sum = 0; j < fine; j++) if (sum += turns[j]) shares[i >> 2][j >> 2] += 1 / 16;
    }
    return shares;
  };
  const decompose = rows => {
    const axes = directions(rows), sizes = axes.map(({size}) => size);
    const rank = sizes.filter(size => size > sizes[0] * SIZE * Number.EPSILON).length;
    const left = axes.slice(0, rank).map(({u}) => u), right = axes.map(({row}) => row);
    const norm = r => Math.hypot(...sizes.slice(r, Math.max(r, rank))); // of all but the first r
    return {rows, left, right, rank, errors: [0, ...sizes].map((_, r) => norm(r) / norm(0))};
  };
  const found = {}, look = (kind, name) => found[kind + name] ??= {
    kind, limit: data.limits[kind] || 1, what: name || words.kinds[kind], ...decompose(name
      ? letters(name) : kind === "update" ? product(data.columns, data.rows) : data[kind]),
  };
  const paint = (canvas, rows, limit) => { // from -limit to limit
    const shade = value => Math.max(0, Math.min(255, Math.floor((value / limit + 1) * 128)));
    const pixels = rows.flatMap(row => Array.from(row, value => data.cividis[shade(value)])).flat();
    canvas.getContext("2d").putImageData(new ImageData(Uint8ClampedArray.from(pixels), SIZE), 0, 0);
  };
  const HTML = `<div class="fields"><label>${words.kind} <select>${each(Object.keys(words.kinds),
      kind => `<option value="${kind}">${words.kinds[kind]}</option>`)}</select></label>
    <label class="named">${words.name}<input value="ANNA" maxlength="30" autocomplete="off"></label>
    <div class="named">${each(EXAMPLES, text => `<button type="button">${text}</button>`)}</div>
    </div><p role="alert"></p><div class="pictures">${each(words.pictures, ([title]) => `<figure>
      <canvas role="img" width="${SIZE}" height="${SIZE}"></canvas>
      <figcaption><b>${title}</b> <span></span></figcaption></figure>`)}</div>
    <div class="steps"><label>${words.r} <b aria-hidden="true"></b>
      <input type="range" min="1" max="${SIZE}" value="5"></label>
      <button type="button" aria-label="${words.less}" value="-1">−</button>
      <button type="button" aria-label="${words.more}" value="1">+</button></div>
    <div class="plot" role="img"><svg viewBox="0 0 99 1" preserveAspectRatio="none"><polyline/>
      <polyline/></svg><span>${words.even}</span><i></i></div><p></p><output></output>`;
  for (const box of document.querySelectorAll("[data-explorable=rank]")) {
    box.insertAdjacentHTML("afterbegin", HTML);
    const all = kind => [...box.querySelectorAll(kind)];
    const [select, name, slider] = all("select, input"), [chosen] = all(".steps b");
    const [problem, curves, output] = all("p, output"), [plot] = all(".plot");
    let seen, timer; // seen: the last good choice
    const show = () => {
      const named = select.value === "name", text = named ? name.value.normalize("NFC").trim() : "";
      const letter = [...text].find(one => !data.letters[one]), r = +slider.value;
      const wrong = named && (text ? letter && words.unknown : words.empty);
      problem.textContent = wrong ? fill(wrong, {letter, what: seen.what}) : "";
      name.ariaInvalid = Boolean(wrong);
      if (!wrong) seen = look(select.value, text);
      const {rows, rank, what, errors} = seen, copy = product(seen.left.slice(0, r), seen.right);
      const rest = copy.map((row, i) => row.map((value, j) => rows[i][j] - value));
      const other = look(seen.kind === "noise" ? "update" : "noise", "");
      const values = {what, r, rank, near: errors.findIndex(error => error <= 0.01),
        other: other.what, strips: number(2 * SIZE * r), square: number(SIZE ** 2),
        off: number(errors[r], "percent"), otherOff: number(other.errors[r], "percent")};
      all("canvas").forEach((canvas, n) => {
        const [title, text] = words.pictures[n].map(text => fill(text, values));
        paint(canvas, [rows, copy, rest][n], seen.limit);
        canvas.ariaLabel = `${what}. ${title}: ${text}`;
        canvas.nextElementSibling.lastElementChild.textContent = text;
      });
      all("polyline").forEach((line, n) => line.setAttribute("points", [other, seen][n].errors
        .slice(1).map((error, i) => `${i},${1 - error}`).join(" ")));
      plot.style.cssText = `--r: ${r}; --off: ${errors[r]}`;
      chosen.textContent = r;
      plot.ariaLabel = curves.textContent = fill(words.curves, values);
      clearTimeout(timer);
      timer = setTimeout(() => { output.textContent = fill(words.said, values); }, timer ? 300 : 0);
    };
    box.oninput = show;
    for (const button of all("button")) button.onclick = () => {
      if (button.value) slider.value = +slider.value + +button.value;
      else name.value = button.textContent;
      show();
    };
    show();
  }
}
