// How many numbers LoRA trains in a model, and what memory that takes: counted from shapes, as in
// lora_edu/counting.py, in whole numbers of any length (BigInt).
{
  const WORDS = {
    model: "Model", own: "a config.json of your own", config: "Your config.json",
    adapt: "Modules to adapt", some: "q and v", all: "all linear", rank: "Rank r", slide: "slide",
    noJson: "A config.json holds one object in JSON. This does not: {message}",
    lacks: "This config of a {family} model lacks {key}.", nothing: "Choose at least one module.",
    oneOf: "{key} must be {known} to be counted here, got {value}.", or: " or ",
    whole: "{key} must be a whole number from {least} to {most}, got {value}.",
    completed: "Not in this config, and completed as transformers does it: {keys}. ",
    closed: "PEFT adapts a model of type {model_type}, whose experts share a parameter, in a way "
      + "of its own: “all linear” and the names of experts are not counted here.",
    facts: ["times fewer than the model has", "modules adapted", "the adapter’s file in float16",
      "the same in float32", "break-even rank, all together"], methods: ["full", "LoRA", "QLoRA"],
    shapes: ["What is adapted", "module", "how many", "d × k", "numbers each", "break-even r"],
    memory: ["Memory of training, in GB", "method", "weights", "gradients", "optimizer",
      "together", "card, at least"],
    said: "LoRA with r = {r} on {names} trains {trained} numbers beside {base}. Memory of "
      + "training, before activations: {plans}.",
    activations: "<strong>Activations come on top and are not counted here.</strong> They grow "
      + "with the batch and the length of the texts. In a terminal, this counts them too:",
  };
  const {lang, fill, each} = loraPieces, words = window.loraWords?.calculator ?? WORDS;
  const data = loraData.calculator, has = (object, key) => Object.keys(object).includes(key);
  const shown = number => number.toLocaleString(lang, {maximumFractionDigits: 1});
  const short = (n, unit) => (Number(n) / unit).toLocaleString(lang, {maximumSignificantDigits: 3});
  const exact = (value, text = shown(value)) => `<data value="${value}">${text}</data>`;
  const json = any => JSON.stringify(any === undefined ? null : any).slice(0, 60);
  const refuse = (why, values) => { throw new Error(fill(words[why], values)); };  // in one line
  const oneOf = (key, value, known) => known.map(json).includes(json(value)) ? value
    : refuse("oneOf", {key, known: known.map(json).join(words.or), value: json(value)});
  const whole = (key, number, least = 1, most = Number.MAX_SAFE_INTEGER) =>
    Number.isInteger(number) && number >= least && number <= most ? BigInt(number)
      : refuse("whole", {key, least, most: shown(most), value: json(number)});

  // The kinds of modules of a config: each with its shape, its numbers, and how often it is there.
  function read(given) {
    const type = has(given, "family") ? given.family : given.model_type, config = {...given};
    const family = oneOf("model_type", type, Object.keys(data.families));
    const look = key => has(config, key) ? config[key] : refuse("lacks", {family, key});
    const size = product => String(product).split("*").reduce((all, factor) =>
      all * (/^\d+$/.test(factor) ? BigInt(factor) : whole(factor, look(factor))), 1n);
    const quotient = part => part.split("/").map(size).reduce((over, under) => over / under);
    const rules = Object.entries(data.completed[family]).filter(([key]) => given[key] == null);
    for (const [key, rule] of rules) config[key] = rule === Boolean(rule) ? rule
      : Number(rule.split("+").map(quotient).reduce((a, b) => a + b));
    for (const [key, usual] of Object.entries(data.assumed[family]))
      if (has(config, key)) oneOf(key, config[key], [usual]);
    const kinds = data.families[family].map(([name, from, to, kind, high, wide, biased, tie, copies]) => {
      const bias = biased ? size(high) : 0n;
      const tied = typeof tie === "string" ? oneOf(tie, look(tie), [true, false]) : tie;
      const d = size(high), k = size(wide), end = to ? whole(to, look(to), 0, 10_000) : 1n;
      const times = end - (from ? whole(from, look(from), 0, Number(end)) : 0n);
      const numbers = size(copies) * ((tied ? 0n : d * k) + bias);
      return {name, kind, d, k, numbers, times};
    }).filter(({times}) => times);
    const closed = data.converted.includes(config.model_type);
    const of = kind => [...new Set(kinds.filter(one => one.kind === kind).map(one => one.name))]
      .filter(name => !closed || !data.experts.includes(name));
    const keys = rules.map(([key]) => `${key} = ${config[key]}`).join(", ");
    const note = (keys && fill(words.completed, {keys})) + fill(closed ? words.closed : "", config);
    return {kinds, closed, note, linear: of("linear"), names: [...of("linear"), ...of("head")]};
  }
  const sum = (kinds, of) => kinds.reduce((all, kind) => all + kind.times * of(kind), 0n);
  const area = ({d, k}) => d * k, edge = ({d, k}) => d + k, ratio = (a, b) => Number(a) / Number(b);
  const even = kinds => exact(ratio(sum(kinds, area), sum(kinds, edge)));
  const table = ([caption, ...heads], rows) => `<table><caption>${caption}</caption><tr>${
    each(heads, head => `<th scope="col">${head}</th>`)}</tr>${each(rows, ([head, ...cells]) =>
    `<tr><th scope="row">${head}</th>${each(cells, cell => `<td>${cell}</td>`)}</tr>`)}</table>`;

  // Of the modules of these names: a sentence that says the results, and the results as HTML.
  function count({kinds, note}, names, r, command) {
    const picked = kinds.filter(({name}) => names.includes(name));
    if (!picked.length) refuse("nothing");
    const shape = ({name, d, k}) => `${name} ${d} ${k}`;
    const many = like => sum(picked.filter(one => shape(one) === shape(like)), () => 1n);
    const shapes = [...new Map(picked.map(one => [shape(one), one])).values()];
    const trained = r * sum(picked, edge), base = sum(kinds, ({numbers}) => numbers);
    const linear = sum(kinds.filter(({kind}) => kind === "linear"), area), all = base + trained;
    const [over, under] = data.packed.map(BigInt), packed = (linear * over + under - 1n) / under;
    // Bytes: 2 a number in bfloat16, 4 in float32 (as Adam's two), fewer in 4-bit NF4, rounded up.
    const plans = [[2n * base, 2n * base, 8n * base], ...[2n * base, 2n * (base - linear) + packed]
      .map(frozen => [frozen + 4n * trained, 4n * trained, 8n * trained])];
    const totals = plans.map(([w, g, o]) => w + g + o), most = Math.max(...totals.map(Number));
    const gb = bytes => exact(bytes, short(bytes, 1e9));
    const card = (bytes, more) => data.cards.find(([size]) => Number(bytes) + more <= size)[1];
    const facts = [exact(ratio(base, trained)), exact(sum(picked, () => 1n)), ...[2n, 4n].map(
      size => exact(size * trained, `${short(size * trained, 1e6)} MB`)), even(picked)];
    const takes = totals.map((bytes, i) => `${words.methods[i]} ${short(bytes, 1e9)} GB`);
    const said = fill(words.said, {r: shown(r), names: names.join(", "), trained: shown(trained),
      base: shown(base), plans: takes.join(", ")}), en = number => number.toLocaleString("en");
    return [said, `<p>${note}</p><p><code>trainable params: ${en(trained)} || all params: ${en(all)
      } || trainable%: ${ratio(100n * trained, all).toFixed(4)}</code></p><dl>${each(facts,
      (fact, i) => `<div><dt>${words.facts[i]}</dt><dd>${fact}</dd></div>`)}</dl>
      ${table(words.shapes, shapes.map(one => [one.name, shown(many(one)), `${shown(one.d)} × ${
        shown(one.k)}`, exact(r * edge(one)), even([one])]))}
      ${table(words.memory, plans.map((plan, i) => [words.methods[i], ...plan.map(gb),
        gb(totals[i]), card(totals[i], data.beside[i])]))}
      <div class="bars" role="img" aria-label="${said}">${each(plans, (plan, i) =>
        `<span>${takes[i]}</span><div>${each(plan, bytes =>
          `<i style="width: ${100 * Number(bytes) / most}%"></i>`)}</div>`)}</div>
      <p>${words.activations} <code>${command}</code></p>`];
  }

  for (const div of document.querySelectorAll("[data-explorable=calculator]")) {
    const ids = Object.keys(data.models), first = "llama-3.1-8b", find = a => div.querySelector(a);
    div.innerHTML = `<p><label>${words.model} <select>${each(ids, id =>
        `<option${id === first ? " selected" : ""}>${id}</option>`)}<option value="">${words.own}
        </option></select></label></p>
      <p><label>${words.config} <textarea rows="9" spellcheck="false">${
        JSON.stringify(data.models[first], null, 1)}</textarea></label></p>
      <fieldset><legend>${words.adapt}</legend><div></div><button type="button">${words.some}
        </button> <button type="button">${words.all}</button></fieldset>
      <p><label>${words.rank} <input type="number" min="1" value="8"></label>
      <label>${words.slide} <input type="range" min="1" max="256" value="8"></label></p>
      <output></output><section></section>`;
    const [select, text, list, some, all, number, range] = ["select", "textarea", "legend + div",
      "button", "button + button", "[type=number]", "[type=range]"].map(find);
    let latest = some, names = "", timer;
    const update = ({target}) => {
      if (target === range) number.value = range.value; else range.value = number.value;
      if (target === some || target === all) [latest, names] = [target, ""];
      text.closest("p").hidden = Boolean(select.value);
      let said, html = "";
      try {
        const model = read(select.value ? data.models[select.value] : JSON.parse(text.value) || {});
        all.disabled = model.closed;
        if (names !== (names = model.names.join(" "))) {  // another model, or a button
          const ticked = latest === all && !model.closed ? model.linear
            : data.queryAndValue.find(both => both.every(name => model.names.includes(name))) || [];
          list.innerHTML = each(model.names, name => `<label><input type="checkbox" value="${name}"
            ${ticked.includes(name) ? "checked" : ""}> ${name}</label>`);
        }
        const chosen = [...list.querySelectorAll(":checked")].map(({value}) => value);
        [said, html] = count(model, chosen, whole(words.rank, number.valueAsNumber),
          `lora-edu count ${select.value || "config.json"} --memory --rank ${number.valueAsNumber
          } --target-modules ${chosen.join(" ")}`);
      } catch (error) {
        said = error instanceof SyntaxError ? fill(words.noJson, error) : error.message;
      }
      find("section").innerHTML = html;
      clearTimeout(timer);
      timer = setTimeout(() => { find("output").textContent = said; }, timer ? 300 : 0);
    };
    div.oninput = some.onclick = all.onclick = update;
    update({target: some});
  }
}
