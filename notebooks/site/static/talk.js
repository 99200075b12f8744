// Talk with the chat model, which runs in the page: llama.cpp as WebAssembly (wllama), one thread.
// From loraData.talk: the files beside the pages and their bytes, a voice as text, what it means.
{
  const WORDS = {
    load: "Load the model: {all} MB (licence Apache 2.0)", loading: "{part} of {all} MB", starting: "starting …",
    ready: "Ready, after {seconds} s. Ask something.", again: "Load it again",
    absent: "This copy of the pages came without the model. In the folder of the course, "
      + "`make site-voice` makes them with it (110 MB), and "
      + "`python -m http.server --directory site` shows them at http://localhost:8000.",
    folder: "A browser lets a model run only in a page that comes from a server. In the folder of "
      + "the course, `python -m http.server --directory site` is one: http://localhost:8000.",
    failed: "It did not load: {why}", voice: "Voice", voices: {none: "none", pirate: "pirate",
      grimm: "Grimm", tiny: "tiny pirate, 2,751 bytes", own: "your own",
      link: "the voice of this link"},
    scale: "Scale", file: "A LoRA as GGUF, such as `lora-edu export` writes", you: "You say", ask: "Ask",
    stop: "Stop", alone: "The model alone", formula: "The model {scale} × {voice}", thinking: "It reads what you say …",
    piece: "Piece of the answer (or click a word)", end: "end of the answer",
    refused: "{name} is no LoRA for this model; the voices are as they were.",
    badLink: "The voice in this address is damaged. Was all of it copied?",
    told: "{first} s to the first word, then {rate} words a second.",
  };
  const data = loraData.talk, words = window.loraWords?.talk ?? WORDS, ROOT = "../../voice/";
  const {lang, fill, each} = loraPieces, MOST = 80, STORE = "lora-voice";
  const number = (value, digits = 1) => value.toLocaleString(lang, {maximumFractionDigits: digits});
  const code = text => text.replace(/`(.+?)`/g, "<code>$1</code>");

  // -- a voice as text → a LoRA for llama.cpp: rank 1 on v, in NF4, as lora_edu.course.qr packs it --
  const bytesOf = text => Uint8Array.from(
    atob(text.replaceAll("-", "+").replaceAll("_", "/")), sign => sign.charCodeAt(0));
  const half = bits => { // a number in half precision
    const power = bits >> 10 & 31, rest = bits & 1023;
    const size = power ? 2 ** (power - 15) * (1 + rest / 1024) : rest * 2 ** -24;
    return bits >> 15 ? -size : size;
  };
  const strips = bytes => { // [layer, A, B] of each layer
    const found = [], long = data.shape.map(n => n / 2 + n / data.block * 2);
    const step = 1 + long[0] + long[1];
    if (!bytes.length || bytes.length % step)
      throw new RangeError(words.badLink);
    for (let at = 0; at < bytes.length; at += step) {
      let from = at + 1;
      found.push([bytes[at], ...data.shape.map((n, nth) => {
        const codes = bytes.subarray(from, from + n / 2), maxima = from + n / 2;
        from += long[nth];
        return Float32Array.from({length: n}, (_, i) => {
          const two = codes[i >> 1], one = maxima + 2 * Math.floor(i / data.block);
          return data.levels[i % 2 ? two & 15 : two >> 4] * half(bytes[one] | bytes[one + 1] << 8);
        });
      })]);
    }
    if (found.some(([layer], i) => layer > 29 || i && layer <= found[i - 1][0]))
      throw new RangeError(words.badLink);
    return found;
  };
  const gguf = layers => { // https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
    const parts = [], whole = (value, size) => {
      const view = new DataView(new ArrayBuffer(size));
      if (size === 8) view.setBigUint64(0, BigInt(value), true); else view.setUint32(0, value, true);
      parts.push(view.buffer);
    };
    const text = words => {
      const coded = new TextEncoder().encode(words);
      whole(coded.length, 8);
      parts.push(coded);
    };
    const tensors = layers.flatMap(([layer, A, B]) => [["a", A, [A.length, 1]], ["b", B, [1, B.length]]]
      .map(([letter, values, shape]) => [`blk.${layer}.attn_v.weight.lora_${letter}`, values, shape]));
    parts.push(new TextEncoder().encode("GGUF"));
    whole(3, 4);
    whole(tensors.length, 8);
    whole(4, 8);
    for (const [key, value] of [["general.architecture", "llama"], ["general.type", "adapter"],
      ["adapter.type", "lora"]]) { text(key); whole(8, 4); text(value); }
    text("adapter.lora.alpha");
    whole(6, 4);
    parts.push(new Float32Array([1])); // alpha / r, and r is 1: as it is
    let at = 0;
    for (const [name, values, shape] of tensors) {
      text(name);
      whole(2, 4);
      shape.forEach(n => whole(n, 8));
      whole(0, 4); // 32 bits
      whole(at, 8);
      at += values.byteLength; // each a multiple of 32
    }
    const head = new Blob(parts), gap = new Uint8Array(-head.size & 31);
    return new Blob([head, gap, ...tensors.map(([, values]) => values)]);
  };
  window.loraTalk = {gguf: text => gguf(strips(bytesOf(text)))};

  // -- the files, kept by the browser, and the program --
  const kept = async (name, progress) => {
    const address = `${ROOT}${name}?${data.files[name]}`, store = await window.caches?.open(STORE);
    const here = await store?.match(address);
    if (here) return here.blob();
    const answer = await fetch(address), parts = [];
    if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
    for (const reader = answer.body.getReader(); ;) {
      const {done, value} = await reader.read();
      if (done) break;
      parts.push(value);
      progress(value.length);
    }
    const blob = new Blob(parts);
    await store?.put(address, new Response(blob)).catch(() => {}); // no room: loaded anew next time
    return blob;
  };
  // wllama 3.13 has no call that puts an adapter's file where it reads adapters from. So they go
  // in with the model's: `proxy` is where it keeps what starts its worker.
  const staged = (wllama, files) => {
    let proxy = null;
    Object.defineProperty(wllama, "proxy", {get: () => proxy, set: value => {
      proxy = value;
      if (!value) return;
      const init = value.moduleInit.bind(value);
      value.moduleInit = models => init([...models, ...files]);
    }});
    return wllama;
  };
  const started = async (model, voices) => {
    const {Wllama, LoggerWithoutDebug} = await import(new URL(`${ROOT}wllama.js`, location.href));
    const at = name => new URL(`${ROOT}${name}`, location.href).href;
    const files = Object.entries(voices).map(([name, blob]) => ({name: `${name}.gguf`, blob}));
    const quiet = {...LoggerWithoutDebug, log() {}, warn() {}, error() {}};
    const wllama = staged(new Wllama({default: at("wllama.wasm")}, {logger: quiet}), files);
    wllama.setCompat({worker: at("compat.js"), wasm: at("compat.wasm")});
    await wllama.loadModel([model], {n_ctx: 2048, n_threads: 1, n_gpu_layers: 0, n_parallel: 1,
      warmup: false, flash_attn: false, lora_adapters: files.map(({name}) => ({path: `models/${name}`, scale: 0}))});
    return wllama;
  };

  const answerOf = (kind, title) => `<section data-of="${kind}"><h3>${title}</h3><p></p><ol></ol></section>`;
  const all = Object.entries(data.files).reduce((sum, [name, bytes]) =>
    sum + (/^compat|txt$/.test(name) ? 0 : bytes), 0);
  const HTML = `<p class="start"><button type="button">${fill(words.load, {all: number(all / 1e6, 0)})}</button>
    <progress max="1" value="0" hidden></progress></p><p role="status"></p>
    <form inert><fieldset><legend>${words.voice}</legend>${each(["none", "pirate", "grimm", "tiny",
      "link", "own"], name => `<label data-voice="${name}"><input type="radio" name="voice"
      value="${name}"> ${words.voices[name]}</label>`)}</fieldset>
    <label class="file" hidden>${code(words.file)} <input type="file" accept=".gguf"></label>
    <label class="scale">${words.scale} <b>1</b><input type="range" min="-1" max="1.5" step="0.05"
      value="1"></label>
    <div class="say"><label>${words.you} <input name="question" maxlength="500"
      value="What is the capital of France?" autocomplete="off"></label>
      <button>${words.ask}</button><button type="button" disabled>${words.stop}</button></div>
    <label class="piece">${words.piece} <b>1</b><input type="range" min="1" max="1" value="1"></label>
    <div class="answers">${answerOf("alone", words.alone)}${answerOf("voiced", "")}</div></form>`;
  for (const box of document.querySelectorAll("[data-explorable=talk]")) {
    box.insertAdjacentHTML("afterbegin", HTML);
    const one = kind => box.querySelector(kind);
    const [button, progress, status, form] = ["button", "progress", "[role=status]", "form"].map(one);
    const [ask, stop] = box.querySelectorAll(".say button"), scale = one(".scale input");
    const question = one("[name=question]"), piece = one(".piece input"), file = one("[type=file]");
    const parts = {alone: one("[data-of=alone]"), voiced: one("[data-of=voiced]")};
    const voices = {}, heard = {alone: [], voiced: []}; // name → file; what was said, piece by piece
    let wllama, model, linked, waiting, running = null, last = {}; // last: a question → what the model alone says

    const voice = () => form.elements.voice.value;
    const show = kind => {
      const said = heard[kind], at = Math.min(piece.value, said.length) - 1;
      const [text, bars] = [parts[kind].children[1], parts[kind].children[2]];
      text.replaceChildren(...said.map(({word}, i) => Object.assign(
        document.createElement(i === at ? "mark" : "span"), {textContent: word})));
      text.classList.toggle("waits", kind === waiting);
      text.classList.toggle("cut", said.length >= MOST);
      bars.replaceChildren(...(said[at]?.likely ?? []).map(([word, share]) => {
        const row = document.createElement("li");
        row.style.setProperty("--share", share);
        row.append(Object.assign(document.createElement("span"), {textContent: word
          ? `“${word}”` : words.end}), ` ${number(100 * share, share < 0.1 ? 1 : 0)} %`);
        return row;
      }));
    };
    const turn = follow => {
      const most = Math.max(1, heard.alone.length, heard.voiced.length);
      piece.max = most;
      one(".piece").style.visibility = most > 1 ? "" : "hidden";
      if (follow) piece.value = most;
      box.querySelector(".piece b").textContent = piece.value;
      show("alone");
      show("voiced");
    };
    const label = () => {
      box.querySelector(".scale b").textContent = number(+scale.value, 2).replace("-", "−");
      one(".file").hidden = voice() !== "own";
      parts.voiced.hidden = one(".scale").hidden = voice() === "none";
    };
    const title = () => { // of the answer that comes
      const size = number(Math.abs(scale.value), 2), sign = scale.value < 0 ? "−" : "+";
      parts.voiced.firstElementChild.textContent = fill(words.formula, {voice:
        words.voices[voice()], scale: `${sign} ${size}`});
    };
    const speak = async (kind, signal) => { // one answer, piece by piece
      const lora = Object.keys(voices).map((name, id) => ({id, scale:
        kind === "voiced" && name === voice() ? +scale.value : 0}));
      const start = performance.now(), said = heard[kind] = [];
      let first;
      [waiting, status.textContent] = [kind, words.thinking];
      turn();
      const stream = await wllama.createChatCompletion({messages: [{role: "user",
        content: question.value}], max_tokens: MOST, temperature: 0, stream: true, logprobs: true,
        top_logprobs: 5, lora, abortSignal: signal});
      for await (const {choices: [choice]} of stream) for (const {token, top_logprobs: likely}
        of choice?.logprobs?.content ?? []) {
        first ??= performance.now();
        waiting = null;
        const shown = word => word === "<|im_end|>" ? "" : word;
        said.push({word: shown(token), likely: likely.map(each => [shown(each.token),
          Math.exp(each.logprob)])});
        turn(true);
      }
      const text = said.map(({word}) => word).join(""), took = (performance.now() - first) / 1000;
      status.textContent = fill(words.told, {first: number((first - start) / 1000),
        rate: number(text.split(/\s+/).length / took)});
      return said;
    };
    const answer = async () => {
      running?.abort();
      const mine = running = new AbortController();
      stop.disabled = false;
      heard.voiced = [];
      title();
      try {
        const known = last.question === question.value;
        heard.alone = known ? last.said : [];
        if (voice() !== "none" && voices[voice()]) await speak("voiced", mine.signal);
        if (!known && !mine.signal.aborted) {
          const said = await speak("alone", mine.signal);
          if (!mine.signal.aborted) last = {question: question.value, said};
        }
      } catch (error) {
        if (!mine.signal.aborted) status.textContent = fill(words.failed, {why: error.message});
      }
      if (running !== mine) return;
      waiting = null;
      stop.disabled = true;
      piece.value = 1;
      turn();
    };
    const add = async (name, blob, shown) => { // a voice more: the program starts again with it
      running?.abort();
      const head = await blob.slice(0, 65536).text();
      const fits = /^GGUF/.test(head) && head.includes("lora_a") && head.includes("adapter.type");
      if (fits) {
        await wllama.exit();
        const tried = await started(model, {...voices, [name]: blob});
        wllama = await tried.createCompletion({prompt: "A", max_tokens: 1}).then(() => tried, () => null);
      }
      if (fits && wllama) voices[name] = blob;
      else {
        status.textContent = fill(words.refused, {name: shown});
        wllama ??= await started(model, voices);
        return;
      }
      await answer();
    };

    button.onclick = async () => {
      button.disabled = true;
      progress.hidden = false;
      const wanted = ["pirate.gguf", "grimm.gguf", "model.gguf"];
      const begun = performance.now();
      let got = 0;
      const tell = more => {
        progress.value = (got += more) / all;
        status.textContent = fill(words.loading, {part: number(got / 1e6, 0), all: number(all / 1e6, 0)});
      };
      try {
        [voices.pirate, voices.grimm, model] = await Promise.all(wanted.map(name => kept(name, tell)));
        voices.tiny = loraTalk.gguf(data.voice);
        if (linked) voices.link = linked;
        status.textContent = words.starting;
        wllama = await started(model, voices);
      } catch (error) {
        status.textContent = fill(words.failed, {why: error.message});
        button.textContent = words.again;
        button.disabled = false;
        return;
      }
      status.textContent = fill(words.ready, {seconds: number((performance.now() - begun) / 1000)});
      one(".start").hidden = true;
      form.inert = false;
      question.focus();
    };
    form.onsubmit = event => { event.preventDefault(); answer(); };
    stop.onclick = () => { running?.abort(); };
    scale.oninput = label;
    scale.onchange = () => { if (heard.alone.length) answer(); };
    piece.oninput = () => turn();
    for (const kind in parts) parts[kind].children[1].onclick = event => {
      const at = [...parts[kind].children[1].children].indexOf(event.target);
      if (at >= 0) { piece.value = at + 1; turn(); }
    };
    for (const choice of form.elements.voice) choice.onchange = () => {
      label();
      if (heard.alone.length && (voices[voice()] || voice() === "none")) answer();
    };
    file.onchange = () => { if (file.files[0]) add("own", file.files[0], file.files[0].name); };
    const address = new URLSearchParams(location.hash.slice(1)).get("v");
    try {
      linked = address && loraTalk.gguf(address);
    } catch {
      status.textContent = words.badLink;
    }
    one("[data-voice=link]").hidden = !linked;
    form.elements.voice.value = linked ? "link" : "pirate";
    label();
    title();
    turn();
    addEventListener("hashchange", () => location.reload()); // another voice came by its link
    const without = location.protocol === "file:" ? words.folder : words.absent;
    if (!data.files["model.gguf"] || location.protocol === "file:") {
      one(".start").hidden = form.hidden = true;
      status.innerHTML = code(without);
    }
  }
}
