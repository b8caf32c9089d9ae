// The shape of wasm-bindgen's output for crates/browser, so that the page type-checks before the wasm was ever built.
declare module "warren-browser" {
  import type { Header, HostStatus, StorageKind } from "../protocol/messages.ts";

  export interface HostConfig {
    profile: string;
    /** Name of the IndexedDB database. */
    database: string;
    storage: StorageKind;
    relays: string[];
    /** Servers that help to find direct paths; none are asked but these. */
    iceServers: RTCIceServer[];
    hideAddresses: boolean;
    serverNameSuffix: string;
    gateway?: { peer: string; zone: string };
  }

  export class Host {
    /**
     * Opens storage, claims the fencing epoch, loads or makes the identity, starts swarm and homeserver.
     * Rejects with `{ code, message }` (HostError). Without `rtc`, where a page makes peer connections, peers are
     * reached by relays only.
     */
    static start(config: HostConfig, onStatus: (status: HostStatus) => void, rtc?: MessagePort): Promise<Host>;
    /** One Client-Server request; `url` is path and query. Rejects only after stop or a trap. */
    handle(
      method: string,
      url: string,
      headers: Header[],
      body: Uint8Array | undefined,
    ): Promise<{ status: number; headers: Header[]; body: Uint8Array }>;
    stop(): Promise<void>;
  }

  /** Fetches and compiles the wasm; to be awaited once before `Host` is used. */
  export default function init(): Promise<unknown>;
}
