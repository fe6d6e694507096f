// SPDX-License-Identifier: Apache-2.0
// A terminal writes its own style elements, which the page's policy refuses, as it should. This is
// the page's document for it, with another way to the same end: what would be the text of a style
// element becomes a constructed style sheet, which holds no markup and loads nothing.

function styleElement() {
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  const element = document.createElement('span');
  element.hidden = true;
  Object.defineProperty(element, 'textContent', {set: (text) => sheet.replaceSync(text), get: () => ''});
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((one) => one !== sheet);
    Element.prototype.remove.call(element);
  };
  return element;
}

export function documentForTerminals() {
  return new Proxy(document, {
    get(target, key) {
      if (key === 'createElement') {
        return (name, ...rest) => (name === 'style' ? styleElement() : target.createElement(name, ...rest));
      }
      const value = Reflect.get(target, key);
      return typeof value === 'function' ? value.bind(target) : value;
    },
    set: (target, key, value) => Reflect.set(target, key, value),
  });
}
