// What the server of this page offers it (`/config.json`): relays, name suffix, address for links.
import type { PageConfig } from "../protocol/messages.ts";

const SAVED_UNDER = "warren.config";
/** 230 characters of a server name, less a key of 62 and a dot. */
const ZONE_MAX_CHARS = 167;
/** With an older answer at hand, the network is not waited for longer than this. */
const NETWORK_WAIT_MS = 400;
const TRY_AGAIN_AFTER_MS = 2_000;

/** For a page on a server that has no `/config.json`: it works alone and cannot be reached. */
export function defaultConfig(): PageConfig {
  return { version: 1, relays: [], iceServers: [], serverNameSuffix: "alt", publicUrl: location.origin };
}

/**
 * The server's answer, or the last one it gave when it does not answer in time. On a first visit without either, waits
 * until the server answers: the suffix of a new profile's name depends on it.
 */
export async function loadConfig(): Promise<PageConfig> {
  for (;;) {
    const saved = read();
    const fresh = fetchConfig();
    fresh.then(save, () => undefined);
    const late = new Promise<undefined>((resolve) => setTimeout(resolve, saved ? NETWORK_WAIT_MS : TRY_AGAIN_AFTER_MS));
    const config = (await Promise.race([fresh.catch(() => undefined), late])) ?? saved;
    if (config) return config;
    await late;
  }
}

async function fetchConfig(): Promise<PageConfig> {
  const response = await fetch("/config.json", { cache: "no-store" });
  if (response.status === 404) return defaultConfig();
  if (!response.ok) throw new Error(`/config.json: ${response.status}`);
  const config = parseConfig(await response.json());
  if (!config) throw new Error("/config.json: not of a shape this page knows");
  return config;
}

/** Takes what is well-formed and fills in the rest; undefined for what is no configuration at all. */
export function parseConfig(json: unknown): PageConfig | undefined {
  if (typeof json !== "object" || json === null) return undefined;
  const given = json as Partial<Record<keyof PageConfig, unknown>>;
  const text = (value: unknown, otherwise: string) => (typeof value === "string" && value ? value : otherwise);
  const suffix = text(given.serverNameSuffix, "alt");
  return {
    version: typeof given.version === "number" ? given.version : 1,
    relays: Array.isArray(given.relays) ? given.relays.filter((relay) => typeof relay === "string") : [],
    iceServers: Array.isArray(given.iceServers) ? given.iceServers.filter(isIceServer) : [],
    serverNameSuffix: isZone(suffix) ? suffix : "alt",
    gateway: gatewayOf(given.gateway),
    publicUrl: text(given.publicUrl, globalThis.location?.origin ?? ""),
    exposedTabs: typeof given.exposedTabs === "string" && given.exposedTabs ? given.exposedTabs : undefined,
    build: typeof given.build === "string" ? given.build : undefined,
  };
}

/** The peer id of a gateway, and the zone that names end in. */
function gatewayOf(given: unknown): PageConfig["gateway"] {
  const { peer, zone } = (given ?? {}) as { peer?: unknown; zone?: unknown };
  if (typeof peer !== "string" || typeof zone !== "string") return undefined;
  return /^[A-Za-z0-9]{1,128}$/.test(peer) && isZone(zone) ? { peer, zone } : undefined;
}

/** A DNS name that leaves room for the key in front: a profile keeps its name for good, so what cannot be one is refused. */
function isZone(name: string): boolean {
  const label = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
  return name.length <= ZONE_MAX_CHARS && name.split(".").every((part) => label.test(part));
}

function isIceServer(server: unknown): server is PageConfig["iceServers"][number] {
  const { urls } = (server ?? {}) as { urls?: unknown };
  return typeof urls === "string" || (Array.isArray(urls) && urls.every((url) => typeof url === "string"));
}

function read(): PageConfig | undefined {
  try {
    return parseConfig(JSON.parse(localStorage.getItem(SAVED_UNDER) ?? "null"));
  } catch {
    return undefined;
  }
}

function save(config: PageConfig): void {
  try {
    localStorage.setItem(SAVED_UNDER, JSON.stringify(config));
  } catch {
    // Storage is blocked; the next start waits for the network.
  }
}
