(() => {
  // the row, the boxes and the marks of the field that is pointed at or has the focus
  const light = (at) => {
    for (const lit of document.querySelectorAll(".on")) lit.classList.remove("on");
    const element = at && at.closest ? at.closest("[data-field]") : null;
    for (const key of element ? element.dataset.field.split(" ") : [])
      for (const each of document.querySelectorAll(`[data-field~="${key}"]`)) each.classList.add("on");
  };
  for (const kind of ["mouseover", "focusin"]) document.addEventListener(kind, (event) => light(event.target));
  for (const kind of ["mouseout", "focusout"]) document.addEventListener(kind, () => light(document.activeElement));
})();
