// Light or dark: as the system has it, until the user chooses; then as chosen.

const NAME = "parley.theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;

function chosen() {
  return localStorage.getItem(NAME);
}

function show() {
  const choice = chosen();
  if (choice) root.dataset.theme = choice;
  root.dataset.shown = choice ?? (system.matches ? "dark" : "light");
}

export function bindTheme(button) {
  const follow = () => button.setAttribute("aria-pressed", root.dataset.shown === "dark");
  button.addEventListener("click", () => {
    localStorage.setItem(NAME, root.dataset.shown === "dark" ? "light" : "dark");
    show();
    follow();
  });
  system.addEventListener("change", () => {
    show();
    follow();
  });
  follow();
}

show();
