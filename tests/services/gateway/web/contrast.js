// → the texts of the page whose contrast with what they lie on is below `least`: [{text, ratio, colour, ground}].

(least) => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });

  function paint(colours) {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) {
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
    }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  }

  function luminance(colour) {
    const [red, green, blue] = colour.map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  }

  function ancestors(element) {
    return element ? [...ancestors(element.parentElement), element] : [];
  }

  function check(element) {
    const grounds = ancestors(element).map((each) => getComputedStyle(each).backgroundColor);
    const { color } = getComputedStyle(element);
    const [ground, text] = [paint(["white", ...grounds]), paint(["white", ...grounds, color])];
    const [low, high] = [luminance(ground), luminance(text)].sort((a, b) => a - b);
    return { text: element.textContent.trim().slice(0, 40), ratio: (high + 0.05) / (low + 0.05), colour: text, ground };
  }

  const shown = (element) => element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
  const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  const elements = [...document.querySelectorAll("body *")].filter((element) => hasText(element) && shown(element));
  const found = elements.filter((element) => !element.closest(".visually-hidden, noscript")).map(check);
  return { checked: found.length, below: found.filter(({ ratio }) => ratio < least) };
};
