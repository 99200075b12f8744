// The first page: a voice, turned. From loraData.front: answers that the model gave, recorded.
{
  const WORDS = {
    ask: "You say", voices: {pirate: "pirate", grimm: "Grimm"}, of: {grimm: " (fairy tales)"},
    voice: "Voice", scale: "How much of the voice", model: "the model", dial: "the slider",
    says: {none: "The model answers", plus: "The model + {voice}", minus: "The model − {voice}"},
    none: "The model alone: its {model} numbers, and nothing else.",
    some: "Its {model} numbers stay. {added} others are added, times {scale}.",
    all: "Its {model} numbers stay. All {added} others are added, a file of {size} MB.",
    more: "Its {model} numbers stay. {added} others are added, times {scale}: more than in training.",
    less: "Its {model} numbers stay. {added} others are subtracted, times {scale}.", emoji: " Why emoji? We do not know.",
    guess: "Guess first: what does it say with less than no {voice}?", reveal: "Show it",
    copy: "Copy a link to this", copied: "The address is copied: whoever opens it sees this.",
    there: "The address of this page leads here now: copy it.",
    recorded: "Recorded, as they came, from a very small model.",
  };
  const data = loraData.front, words = window.loraWords?.front ?? WORDS;
  const {lang, fill, each} = loraPieces;
  const number = value => value.toLocaleString(lang, {maximumFractionDigits: 2}).replace("-", "−");
  const last = data.scales.length - 1, zero = data.scales.indexOf(0);
  for (const box of document.querySelectorAll("[data-explorable=front]")) {
    box.innerHTML = `<div class="asks" role="group" aria-label="${words.ask}">${each(data.asked,
        (text, i) => `<button type="button" value="${i}">${text}</button>`)}</div>
      <p class="said" data-who=""></p>
      <div class="dial"><label for="front-scale">${words.scale}</label>
        <input id="front-scale" type="range" min="0" max="${last}" value="${zero}">
        <div class="marks" aria-hidden="true">${each(data.scales, (scale, i) => scale % 0.5 ? ""
          : `<span style="--at: ${i / last}">${number(scale)}</span>`)}</div></div>
      <p class="formula"><span><span><b>W</b><sub>0</sub></span><small>${words.model}</small></span> <i>+</i>
        <span><output>0</output><small>${words.dial}</small></span> ·
        <span><span><b class="B">B</b> <b class="A">A</b></span><small class="of"></small></span>
        <span class="voices" role="radiogroup" aria-label="${words.voice}">${each(Object.keys(data.said),
          name => `<label><input type="radio" name="voice" value="${name}"> ${words.voices[name]}${words.of[name] ?? ""}</label>`)}</span></p>
      <p class="why" aria-live="polite"></p>
      <p class="note">${words.recorded} <button type="button">${words.copy}</button></p>`;
    const one = kind => box.querySelector(kind), asks = [...box.querySelectorAll(".asks button")];
    const [said, slider, output, why, copy, sign, of] = [".said", "#front-scale", "output", ".why",
      ".note button", ".formula i", ".formula .of"].map(one);
    let asked = 0, covered = true, gliding;
    const voice = () => one("[name=voice]:checked").value;
    const show = () => {
      const scale = data.scales[slider.value], answer = data.said[voice()][asked][slider.value];
      const values = {model: number(data.model), added: number(data.added), scale: number(scale),
        size: number(data.bytes / 1e6), voice: words.voices[voice()]};
      if (scale < 0) values.scale = number(-scale);
      const hidden = covered && scale < 0;
      asks.forEach((button, i) => { button.ariaPressed = i === asked; });
      said.textContent = hidden ? `${fill(words.guess, values)} ` : answer;
      said.ariaLive = gliding || document.activeElement === slider ? "off" : "polite"; // it says it, too
      said.className = `said ${scale === 0 ? "alone" : scale < 0 ? "minus" : "voiced"}`;
      if (hidden) {
        const reveal = Object.assign(document.createElement("button"), {textContent: words.reveal});
        reveal.onclick = () => { covered = false; show(); slider.focus(); };
        said.append(reveal);
      }
      said.dataset.who = fill(words.says[scale === 0 ? "none" : scale < 0 ? "minus" : "plus"], values);
      for (const [name, at] of [["--to", slider.value / last], ["--zero", zero / last]])
        slider.style.setProperty(name, at);
      slider.ariaValueText = `${number(scale)}: ${hidden ? fill(words.guess, values) : answer}`;
      output.textContent = values.scale;
      sign.textContent = scale < 0 ? "−" : "+";
      of.textContent = values.voice;
      const kind = scale === 0 ? "none" : scale === 1 ? "all" : scale < 0 ? "less" : scale > 1 ? "more" : "some";
      const odd = kind === "less" && !hidden && /\p{Extended_Pictographic}/u.test(answer);
      why.textContent = fill(words[kind], values) + (odd ? words.emoji : "");
    };
    const stay = () => { clearInterval(gliding); gliding = null; };
    asks.forEach((button, i) => { button.onclick = () => { asked = i; show(); }; });
    for (const radio of box.querySelectorAll("[name=voice]")) radio.onchange = show;
    slider.oninput = () => { stay(); show(); };
    slider.onpointerdown = slider.onkeydown = stay;
    copy.onclick = () => {
      const there = `#${voice()},${data.scales[slider.value]},${asked + 1}`;
      history.replaceState(null, "", there);
      const tell = text => () => { why.textContent = text; };
      if (navigator.clipboard) navigator.clipboard.writeText(location.href).then(tell(words.copied), tell(words.there));
      else tell(words.there)();
    };
    const sent = () => { // what the address asks for, if it does
      const [name, scale, nth] = location.hash.slice(1).split(",");
      if (!(data.said[name] && data.scales.includes(+scale) && data.asked[nth - 1])) return false;
      one(`[value=${name}]`).checked = true;
      [asked, covered, slider.value] = [nth - 1, false, data.scales.indexOf(+scale)];
      return true;
    };
    addEventListener("hashchange", () => { if (sent()) { stay(); show(); } });
    one("[value=pirate]").checked = true;
    if (!sent() && !matchMedia("(prefers-reduced-motion: reduce)").matches)
      gliding = setTimeout(() => { // once, from nothing to all of it
        gliding = setInterval(() => {
          slider.value = +slider.value + 1;
          show();
          if (data.scales[slider.value] >= 1) stay();
        }, 700);
      }, 1500);
    show();
  }
}
