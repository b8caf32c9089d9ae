// The service worker: answers Matrix on this origin from the homeserver in a tab, and the page itself when offline.
import { AssetHandler, type Shell } from "./asset-handler.ts";
import { chooseHandler, orderedHandlers, type Handler } from "./handlers.ts";
import { HostPort } from "./host-port.ts";
import { MatrixHandler } from "./matrix-handler.ts";
import { newId } from "../host/wire.ts";
import type { PageToServiceWorker } from "../protocol/messages.ts";

declare const self: ServiceWorkerGlobalScope & { __WARREN_SHELL__: Shell };

/** Of this run of the worker: the browser stops an idle one after half a minute and starts another when needed. */
const instance = newId();
const hostPorts = new Map<string, HostPort>();
const assets = new AssetHandler({
  origin: self.location.origin,
  shell: self.__WARREN_SHELL__,
  caches: self.caches,
  fetch: (request) => fetch(request),
});
const matrix = new MatrixHandler({ origin: self.location.origin, instance, hostPort });
const handlers = orderedHandlers(matrix, assets);

function hostPort(profile: string): HostPort {
  const known = hostPorts.get(profile);
  if (known) return known;
  const port = new HostPort({ profile, instance, build: WARREN_BUILD, hasTabs });
  hostPorts.set(profile, port);
  return port;
}

async function hasTabs(): Promise<boolean> {
  return (await self.clients.matchAll({ type: "window", includeUncontrolled: true })).length > 0;
}

async function respond(handler: Handler, event: FetchEvent): Promise<Response> {
  const { response, handedOver } = await handler.handle(event.request, event.clientId);
  // What follows the return within this turn and its microtasks happens before anything else can stop us.
  handedOver?.();
  return response;
}

self.addEventListener("install", (event) => {
  event.waitUntil(assets.precache().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(assets.forgetOldBuilds().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const handler = chooseHandler(handlers, event.request);
  if (handler) event.respondWith(respond(handler, event));
});

self.addEventListener("message", (event) => {
  const message = event.data as PageToServiceWorker;
  switch (message.type) {
    case "claim":
      return event.waitUntil(self.clients.claim());
    case "keep-awake":
      return;
  }
});
