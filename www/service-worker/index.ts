// The service worker's entry.
declare const self: ServiceWorkerGlobalScope & { __WARREN_SHELL__: { build: string; shell: string[] } };
export {};
self.addEventListener("install", () => undefined);
