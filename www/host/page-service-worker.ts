// Puts the service worker in charge of this origin, so that other clients of it reach the homeserver too.
import type { PageToServiceWorker } from "../protocol/messages.ts";
import type { ViewState } from "./view-state.ts";

/** On a first visit its downloads wait until the homeserver has had its own, but not longer than this. */
const FIRST_VISIT_WAIT_MS = 10_000;

/** Registers it, and has it take over a page it does not control yet (first visit, hard reload). */
export async function registerServiceWorker(view: ViewState): Promise<void> {
  const container = navigator.serviceWorker as ServiceWorkerContainer | undefined;
  if (!isSecureContext || !container) return view.set({ serviceWorker: "unavailable" });
  const update = () => {
    if (container.controller) view.set({ serviceWorker: "active" });
  };
  container.addEventListener("controllerchange", update);
  if (!container.controller) await started(view);
  try {
    await container.register("/service-worker.js", { updateViaCache: "none" });
    const { active } = await container.ready;
    if (!container.controller) active?.postMessage({ type: "claim" } satisfies PageToServiceWorker);
    update();
  } catch {
    // Private windows of Firefox, or a browser told to refuse: the page itself needs none.
    view.set({ serviceWorker: "unavailable" });
  }
}

function started(view: ViewState): Promise<void> {
  return new Promise((resolve) => {
    const unsubscribe = view.subscribe(() => view.get().phase !== "starting" && done());
    const timer = setTimeout(done, FIRST_VISIT_WAIT_MS);
    function done(): void {
      clearTimeout(timer);
      unsubscribe();
      resolve();
    }
  });
}

/** A service worker that only waits for an answer is stopped unless it hears something. */
export function keepServiceWorkerAwake(): void {
  navigator.serviceWorker?.controller?.postMessage({ type: "keep-awake" } satisfies PageToServiceWorker);
}
