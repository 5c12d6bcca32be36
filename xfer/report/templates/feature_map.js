(() => {
  const map = document.getElementById("map"), svg = map.querySelector("svg"), tip = map.querySelector(".tip");
  const p = JSON.parse(document.getElementById("points").textContent), whole = svg.viewBox.baseVal;
  const all = [whole.x, whole.y, whole.width, whole.height];
  const [tile, name, answer] = tip.children;
  let view = [...all], only = null, drag = null;
  const zoomed = () => view[2] < all[2];
  const draw = () => { svg.setAttribute("viewBox", view.join(" ")); svg.style.touchAction = zoomed() ? "none" : "pan-y"; };
  const at = event => {
    const box = svg.getBoundingClientRect();
    return [view[0] + (event.clientX - box.left) / box.width * view[2], view[1] + (event.clientY - box.top) / box.height * view[3]];
  };
  const clamp = () => { for (const i of [0, 1]) view[i] = Math.min(Math.max(view[i], all[i]), all[i] + all[i + 2] - view[i + 2]); };
  const zoom = (factor, [x, y] = [view[0] + view[2] / 2, view[1] + view[3] / 2]) => {
    const scale = Math.min(Math.max(view[2] * factor, all[2] / 40), all[2]) / view[2];
    view = [x - (x - view[0]) * scale, y - (y - view[1]) * scale, view[2] * scale, view[3] * scale];
    clamp(); hide(); draw();
  };
  const hide = () => { tip.hidden = true; };
  const show = event => {
    const [x, y] = at(event), box = svg.getBoundingClientRect(), scale = box.width / view[2];
    let best = -1, least = (14 / scale) ** 2;
    for (let i = 0; i < p.x.length; i++) {
      if (only !== null && p.c[i] !== only) continue;
      const d = (p.x[i] - x) ** 2 + (p.y[i] - y) ** 2;
      if (d < least) { least = d; best = i; }
    }
    if (best < 0) return hide();
    const t = p.t[best];
    tile.hidden = t < 0;
    tile.style.backgroundPosition = `${-(t % p.columns) * p.tile}px ${-Math.floor(t / p.columns) * p.tile}px`;
    name.textContent = p.n[best]; answer.textContent = p.a[best];
    tip.hidden = false;
    const left = (p.x[best] - view[0]) * scale, top = (p.y[best] - view[1]) * scale;
    tip.style.left = `${Math.min(Math.max(left - tip.offsetWidth / 2, 0), box.width - tip.offsetWidth)}px`;
    tip.style.top = `${top > tip.offsetHeight + 14 ? top - tip.offsetHeight - 12 : top + 14}px`;
  };
  svg.addEventListener("pointerdown", event => {
    if (zoomed()) { drag = [event.clientX, event.clientY, ...view]; svg.setPointerCapture(event.pointerId); }
    show(event);
  });
  svg.addEventListener("pointermove", event => {
    if (!drag) return event.pointerType === "mouse" && show(event);
    const scale = view[2] / svg.getBoundingClientRect().width;
    view[0] = drag[2] - (event.clientX - drag[0]) * scale; view[1] = drag[3] - (event.clientY - drag[1]) * scale;
    clamp(); hide(); draw();
  });
  for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => { drag = null; });
  svg.addEventListener("pointerleave", event => event.pointerType === "mouse" && hide());
  svg.addEventListener("wheel", event => {
    if (document.activeElement !== svg && !event.ctrlKey) return;  // the page scrolls until the map was clicked
    event.preventDefault(); zoom(event.deltaY < 0 ? 0.8 : 1.25, at(event));
  }, { passive: false });
  svg.addEventListener("keydown", event => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "+" || event.key === "=") zoom(0.7);
    else if (event.key === "-") zoom(1 / 0.7);
    else if (event.key === "0") zoom(all[2] / view[2]);
    else if (move && zoomed()) { for (const i of [0, 1]) view[i] += move[i] * view[i + 2] / 5; clamp(); hide(); draw(); }
    else return;
    event.preventDefault();
  });
  const [closer, farther, reset] = map.querySelectorAll("button");
  closer.onclick = () => zoom(0.6); farther.onclick = () => zoom(1 / 0.6); reset.onclick = () => zoom(all[2] / view[2]);
  map.querySelector(".zoom").hidden = false;
  for (const note of document.querySelectorAll(".js")) note.hidden = false;
  // A class in the legend shows its own points alone.
  for (const item of document.querySelectorAll("#legend li")) {
    item.tabIndex = 0; item.setAttribute("role", "button"); item.setAttribute("aria-pressed", "false");
    const choose = () => {
      const c = Number(item.dataset.c);
      only = only === c ? null : c;
      for (const each of document.querySelectorAll("#legend li")) each.setAttribute("aria-pressed", String(only === Number(each.dataset.c)));
      for (const path of svg.children) path.classList.toggle("faded", only !== null && Number(path.dataset.c) !== only);
      hide();
    };
    item.onclick = choose;
    item.onkeydown = event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); } };
  }
  draw();
})();
