// What the pages of the site do by themselves: questions mark, tables sort, wide things scroll.
{
  const each = (selector, act) => document.querySelectorAll(selector).forEach(act);
  // The number in what people write: 1,000 or 1.000,5 or 0,5, 130 MB or ~130. A comma may be
  // either, so both are tried.
  const numbers = text => {
    const found = /[\d.,\s]*\d/.exec(text)?.[0] ?? "";
    return [found.replace(/[,\s]/g, ""), found.replace(/[.\s]/g, "").replace(",", ".")]
      .map(Number).filter(value => found && !Number.isNaN(value));
  };

  const mark = (form, field) => {
    const inputs = [...field.querySelectorAll("input")];
    const chosen = inputs.find(input => input.checked || input.dataset.number && input.value);
    const verdict = field.querySelector(".verdict");
    const read = chosen?.type === "radio" ? [] : numbers(chosen?.value ?? "");
    field.querySelector(".why-right").hidden = true;
    delete field.dataset.verdict;
    if (!chosen || chosen.type !== "radio" && !read.length) {
      verdict.textContent = verdict.dataset.none;
      return;
    }
    const {number, within} = chosen.dataset;
    const near = value => Math.abs(value - number) <= +within + 1e-9;
    const right = chosen.type === "radio" ? "right" in chosen.dataset : read.some(near);
    field.dataset.verdict = right ? "right" : "wrong";
    verdict.textContent = verdict.dataset[field.dataset.verdict];
    if (read.length && !right) verdict.textContent += ` ${verdict.dataset[read[0] > number ? "large" : "small"]}`;
    for (const why of field.querySelectorAll(".why"))
      why.hidden = !why.parentNode.contains(chosen);
    field.querySelector(".why-right").hidden = !right;
    const good = form.querySelectorAll("[data-verdict=right]").length;
    form.querySelector(".score").textContent = `${good} / ${form.dataset.of} ${form.dataset.score}`;
  };
  each("form.quiz", form => {
    form.onsubmit = event => event.preventDefault();
    form.querySelectorAll("fieldset").forEach(field => {
      field.querySelector("button").onclick = () => mark(form, field);
      field.onkeydown = event => { if (event.key === "Enter") mark(form, field); };
    });
  });

  // Does what was typed fit an answer? A number within 1 %, or words; others may be right, too.
  const fits = (words, answer) => words.toLowerCase() === answer.toLowerCase() || numbers(words).some(
    typed => Math.abs(typed - numbers(answer)[0]) <= numbers(answer)[0] / 100);

  // A guess stands above the answer, which it opens.
  each(".guess", group => {
    const secret = group.nextElementSibling, field = group.querySelector("input");
    const said = document.createElement("p");
    secret.querySelector("summary").after(said);
    const guess = (button, words) => {
      if (!words) return field.focus();
      group.querySelectorAll("button").forEach(each => { each.ariaPressed = each === button; });
      const known = group.querySelector("[data-right]"), {answer, yes, no} = group.dataset;
      const verdict = known ? button === known ? yes : no : fits(words, answer) ? yes : "";
      said.textContent = `${group.dataset.said} ${words}. ${verdict}`;
      secret.open = true;
    };
    group.querySelectorAll("button").forEach(button => {
      button.onclick = () => guess(button, field ? field.value.trim() : button.textContent);
    });
    if (field) field.onkeydown = event => {
      if (event.key === "Enter") guess(group.querySelector("button"), field.value.trim());
    };
  });

  // A table that sorts: a button in each head; numbers as numbers, the rest as words.
  each("table.sortable", table => {
    const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
    const filter = document.querySelector(`[data-filters="${table.id}"]`);
    const fields = [...filter.querySelectorAll("input, select")];
    const asked = new URLSearchParams(location.search);
    fields.forEach(field => { field.value = asked.get(field.name) ?? ""; });
    let order = "";
    const remember = () => { // in the address, to be sent to somebody
      const chosen = [...fields.map(({name, value}) => [name, value]), ["sort", order]];
      const words = String(new URLSearchParams(chosen.filter(([, value]) => value)));
      history.replaceState(null, "", words ? `?${words}` : location.pathname);
    };
    const sort = (head, column, down) => {
      heads.forEach(other => { other.ariaSort = null; });
      head.ariaSort = down ? "descending" : "ascending";
      const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = (a, b) => a - b || a.localeCompare(b, undefined, {numeric: true});
      const rows = [...body.rows].sort((a, b) => compare(key(a), key(b)));
      body.append(...(down ? rows.reverse() : rows));
      order = (down ? "-" : "") + head.textContent;
    };
    heads.forEach((head, column) => {
      const button = document.createElement("button"), name = head.textContent;
      button.append(...head.childNodes);
      head.append(button);
      button.onclick = () => {
        sort(head, column, head.ariaSort === "ascending");
        remember();
      };
      if ([name, `-${name}`].includes(asked.get("sort")))
        sort(head, column, asked.get("sort") !== name);
    });
    const count = filter.querySelector("output"), total = body.rows.length;
    const plain = text => text.toLowerCase().replace(/[-_\s]+/g, " ");
    const sift = () => {
      let left = 0;
      for (const row of body.rows) {
        const text = plain(row.textContent);
        row.hidden = !fields.every(({name, tagName, value}) => !value || (tagName === "SELECT"
          ? row.dataset[name] === value : plain(value).split(" ").every(word => text.includes(word))));
        left += !row.hidden;
      }
      count.textContent = `${left} / ${total}`;
    };
    fields.forEach(field => {
      field.oninput = () => {
        sift();
        remember();
      };
    });
    sift();
  });

  // What is wider than its place scrolls there, and by the keyboard, too.
  const reach = () => each("pre, .table-wrapper, .math-block, .pan", part => {
    const wide = part.scrollWidth > part.clientWidth + 1;
    if (wide) part.tabIndex = 0;
    else part.removeAttribute("tabindex");
    part.classList.toggle("wide", wide); // of two pictures, light and dark, the one that is shown
  });
  addEventListener("load", reach);
  addEventListener("resize", reach);
  each("details", part => part.addEventListener("toggle", reach));

  // Pictures come when one scrolls to them, or else when nothing is left to do: one may print.
  const hurry = () => each("img[loading=lazy]", img => { // of two, the one that is shown
    if (getComputedStyle(img.parentNode).display !== "none") img.loading = "eager";
  });
  addEventListener("load", () => (window.requestIdleCallback ?? setTimeout)(hurry));

  // From a folder no page can be read by a script: the search shows titles without their text.
  if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined")
    DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

  // A lesson whose end was reached is ticked in the menu, by this browser alone.
  const ends = document.querySelector(".related-pages");
  try {
    const read = new Set(JSON.parse(localStorage.getItem("lora-read") ?? "[]"));
    const own = /notebooks\/(\d\d)_\w+\.html/.exec(location.pathname)?.[1];
    const tick = () => each(".sidebar-tree a", link => {
      const nth = /^\d\d/.exec(link.textContent)?.[0];
      if (read.has(nth) && !link.textContent.endsWith("✓")) link.append(" ✓");
    });
    tick();
    if (own && ends) new IntersectionObserver(([{isIntersecting}]) => {
      if (!isIntersecting || read.has(own)) return;
      localStorage.setItem("lora-read", JSON.stringify([...read.add(own)]));
      tick();
    }).observe(ends);
  } catch { /* no store is allowed here */ }

  // A link that leads to what is folded opens it.
  const open = () => {
    const place = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    let part = place;
    while (part && (part = part.parentElement.closest("details"))) part.open = true;
    if (place?.closest("details")) place.scrollIntoView();
  };
  addEventListener("load", open);
  addEventListener("hashchange", open);
}
