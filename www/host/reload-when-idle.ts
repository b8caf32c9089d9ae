// Reloads an outdated page, but not under the user's hands.

/** No key and no touch for this long counts as idle, and so does a page nobody sees. */
const IDLE_AFTER_MS = 60_000;
const LOOK_EVERY_MS = 5_000;

/** Calls `reload` once, when the page is idle and `mayReload` agrees. */
export function reloadWhenIdle(mayReload: () => boolean, reload: () => void = () => location.reload()): void {
  let touchedMs = performance.now();
  for (const event of ["pointerdown", "keydown", "wheel", "touchstart"]) {
    addEventListener(event, () => (touchedMs = performance.now()), { passive: true });
  }
  const look = () => {
    const isIdle = document.hidden || performance.now() - touchedMs >= IDLE_AFTER_MS;
    if (!isIdle || !mayReload()) return;
    clearInterval(timer);
    document.removeEventListener("visibilitychange", look);
    reload();
  };
  const timer = setInterval(look, LOOK_EVERY_MS);
  document.addEventListener("visibilitychange", look);
  look();
}
