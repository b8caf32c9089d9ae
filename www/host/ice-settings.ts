// What a person adds to how this browser looks for paths: STUN and TURN servers of their own, and whether others may learn
// its addresses. Kept for each profile; heeded when the homeserver starts.
import type { PageConfig } from "../protocol/messages.ts";

/** Browsers warn at five, because every server costs each connection time. */
export const ICE_SERVERS_MAX = 4;
const URL_MAX_CHARS = 512;

export interface IceSettings {
  /** One a line: `stun:host`, or `turn:host user password`. */
  servers: string;
  /** Connect directly only through TURN servers, so that nobody learns this device's addresses. */
  hideAddresses: boolean;
}

type IceServer = PageConfig["iceServers"][number];

export const DEFAULT_ICE_SETTINGS: IceSettings = { servers: "", hideAddresses: false };

/** The servers that the lines name, or the first line that names none; a line too many is such a line. */
export function parseIceServers(text: string): { servers: IceServer[] } | { badLine: string } {
  const lines = text.split("\n").map((line) => line.trim());
  const servers: IceServer[] = [];
  for (const line of lines.filter(Boolean)) {
    const server = serverOf(line);
    if (!server || servers.length === ICE_SERVERS_MAX) return { badLine: line };
    servers.push(server);
  }
  return { servers };
}

function serverOf(line: string): IceServer | undefined {
  const [urls = "", username, credential, ...rest] = line.split(/\s+/);
  if (urls.length > URL_MAX_CHARS || rest.length) return undefined;
  if (/^stuns?:[^/?#@]+$/.test(urls)) return username === undefined ? { urls } : undefined;
  if (/^turns?:[^/#@]+$/.test(urls)) return username && credential ? { urls, username, credential } : undefined;
  return undefined;
}

/** What is kept; the defaults where nothing is, or storage is blocked. */
export function readIceSettings(profile: string): IceSettings {
  try {
    const kept = JSON.parse(localStorage.getItem(keyOf(profile)) ?? "{}") as Partial<IceSettings>;
    return {
      servers: typeof kept.servers === "string" ? kept.servers : DEFAULT_ICE_SETTINGS.servers,
      hideAddresses: kept.hideAddresses === true,
    };
  } catch {
    return DEFAULT_ICE_SETTINGS;
  }
}

/** Returns whether it is kept. */
export function keepIceSettings(profile: string, settings: IceSettings): boolean {
  try {
    localStorage.setItem(keyOf(profile), JSON.stringify(settings));
    return true;
  } catch {
    return false;
  }
}

/** The server's configuration with what the person adds; the person's servers come first. */
export function withIceSettings(config: PageConfig, { servers, hideAddresses }: IceSettings): PageConfig {
  const parsed = parseIceServers(servers);
  const own = "servers" in parsed ? parsed.servers : [];
  return { ...config, iceServers: [...own, ...config.iceServers].slice(0, ICE_SERVERS_MAX), hideAddresses };
}

function keyOf(profile: string): string {
  return `warren:${profile}:ice`;
}
