// Turns the still strip of the figure that this script stands in into a player.
{
  const fig = document.currentScript.parentNode, still = fig.querySelector("img");
  const captions = JSON.parse(fig.dataset.captions), last = captions.length - 1;
  const [plays, next, stops, frame] = JSON.parse(fig.dataset.words);
  const make = (tag, set, style) => {
    const made = Object.assign(document.createElement(tag), set);
    made.style.cssText = style;
    return made;
  };
  const view = make("div", {role: "img"}, "overflow:hidden;position:relative");
  const wide = `display:block;height:auto;max-width:none;width:${100 * captions.length}%`;
  const sheet = make("img", {src: fig.dataset.sheet, alt: ""}, wide);
  const old = make("img", {src: fig.dataset.sheet, alt: ""}, `${wide};position:absolute;top:0;opacity:0`);
  const bar = make("div", {}, "display:flex;gap:8px;align-items:center");
  const play = make("button", {type: "button"}, "min-width:6em;min-height:28px");
  const at = make("input", {type: "range", max: last, value: 0, ariaLabel: frame}, "flex:1");
  const says = make("output", {}, "display:block;min-height:1.5em");
  const slow = matchMedia("(prefers-reduced-motion: reduce)");
  let timer = null, fade = null;

  const put = (img, i) => { img.style.transform = `translateX(${-100 * i / captions.length}%)`; };
  const show = i => {
    at.value = i;
    fade?.cancel();
    put(sheet, i);
    says.textContent = at.ariaValueText = captions[i];
    view.ariaLabel = `${fig.ariaLabel}: ${captions[i]}`;
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    fade?.cancel();
    says.ariaLive = "polite";
    play.textContent = `\u25b6 ${slow.matches ? next : plays}`;
  };
  const step = () => { // one frame fades into the next, briefly: half-way its numbers cannot be read
    if (+at.value < last) {
      put(old, +at.value);
      show(+at.value + 1);
      fade = old.animate({opacity: [1, 0]}, {duration: 120, easing: "ease-out"});
    }
    if (+at.value >= last || !fig.isConnected) stop();
  };
  play.onclick = () => {
    if (timer) return stop();
    if (slow.matches) return show(+at.value < last ? +at.value + 1 : 0);
    if (+at.value >= last) show(0);
    says.ariaLive = "off"; // not a word for each frame that passes
    timer = setInterval(step, 350);
    play.textContent = `\u275a\u275a ${stops}`;
  };
  at.oninput = () => { stop(); show(+at.value); };
  slow.onchange = stop;
  // Else JupyterLab takes the arrow keys, and leaves the cell.
  fig.onkeydown = event => {
    if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
  };

  view.append(sheet, old);
  bar.append(play, at);
  still.style.display = "none"; // on paper it is shown again, by the page that is printed
  still.after(view, bar, says);
  stop();
  show(0);
}
