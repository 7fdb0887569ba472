// KaTeX writes MathML, which browsers draw themselves: no fonts and no style sheet are loaded.
document$.subscribe(() => {
  for (const element of document.querySelectorAll(".arithmatex")) {
    const display = element.tagName === "DIV";
    const source = element.textContent.trim().slice(2, -2);
    katex.render(source, element, { displayMode: display, output: "mathml", throwOnError: false });
  }
});
