// Makes peer connections for the homeserver's worker, because only a page can. It decides nothing and carries no data:
// every channel but `init` is transferred in the turn in which it comes to be, as browsers demand.

/** The channel that is there so that an offer has something to offer. */
const INIT = "init";

/** From the worker. `connection` and `call` are numbers of the worker's; calls are answered by `done` or `failed`. */
export type ToBroker =
  | { type: "connect"; connection: number; configuration: RTCConfiguration; peer: string }
  | { type: "makeOffer"; connection: number; call: number }
  | { type: "makeAnswer"; connection: number; call: number; offer: string }
  | { type: "applyAnswer"; connection: number; call: number; answer: string }
  | { type: "addCandidate"; connection: number; call: number; candidate: RTCIceCandidateInit }
  | { type: "openChannel"; connection: number; call: number }
  | { type: "close"; connection: number };

/** To the worker. */
export type FromBroker =
  | { type: "done"; connection: number; call: number; sdp?: string; channel?: RTCDataChannel }
  | { type: "failed"; connection: number; call: number; message: string }
  | { type: "candidate"; connection: number; candidate: RTCIceCandidateInit }
  | { type: "state"; connection: number; state: RTCPeerConnectionState }
  | { type: "channel"; connection: number; channel: RTCDataChannel };

interface Brokered {
  peer: RTCPeerConnection;
  /** The peer id at the other end, as the worker says. */
  peerId: string;
  /** Kept, so that it lives as long as the connection. */
  init?: RTCDataChannel;
}

/** Peer connections for the worker at the other end of `port`, until `close`. */
export class RtcBroker {
  readonly #port: MessagePort;
  readonly #connections = new Map<number, Brokered>();

  constructor(port: MessagePort) {
    this.#port = port;
    port.onmessage = ({ data }: MessageEvent<ToBroker>) => this.#obey(data);
  }

  /** Those there are, oldest first. */
  connections(): { peerId: string; peer: RTCPeerConnection }[] {
    return [...this.#connections.values()];
  }

  /** Closes all connections. To be called when the page goes: what stays open keeps others waiting. */
  close(): void {
    this.#port.onmessage = null;
    this.#port.close();
    for (const connection of [...this.#connections.keys()]) this.#close(connection);
  }

  #obey(message: ToBroker): void {
    const { connection } = message;
    if (message.type === "connect") return this.#connect(connection, message);
    if (message.type === "close") return this.#close(connection);
    const brokered = this.#connections.get(connection);
    if (!brokered) {
      this.#post({ type: "failed", connection, call: message.call, message: "there is no such connection" });
    } else if (message.type === "openChannel") {
      this.#openChannel(connection, message.call, brokered);
    } else {
      void this.#answer(connection, message.call, describe(message, brokered, () => this.#watchSctp(connection, brokered)));
    }
  }

  #connect(connection: number, { configuration, peer: peerId }: Extract<ToBroker, { type: "connect" }>): void {
    let peer: RTCPeerConnection;
    try {
      peer = new RTCPeerConnection(configuration);
    } catch {
      // Whatever is asked of it is answered by "no such connection".
      return;
    }
    peer.onicecandidate = ({ candidate }) => {
      if (candidate) this.#post({ type: "candidate", connection, candidate: candidate.toJSON() });
    };
    peer.onconnectionstatechange = () => this.#post({ type: "state", connection, state: peer.connectionState });
    peer.ondatachannel = ({ channel }) => {
      // The other side's `init` is the other side's to close.
      if (channel.label !== INIT) this.#post({ type: "channel", connection, channel }, [channel]);
    };
    this.#connections.set(connection, { peer, peerId });
  }

  #openChannel(connection: number, call: number, { peer }: Brokered): void {
    try {
      const channel = peer.createDataChannel("");
      this.#post({ type: "done", connection, call, channel }, [channel]);
    } catch (error) {
      this.#post({ type: "failed", connection, call, message: String(error) });
    }
  }

  async #answer(connection: number, call: number, work: Promise<string | undefined>): Promise<void> {
    try {
      const sdp = await work;
      this.#post({ type: "done", connection, call, ...(sdp === undefined ? {} : { sdp }) });
    } catch (error) {
      this.#post({ type: "failed", connection, call, message: String(error) });
    }
  }

  /** A closed association is all that tells of the other side's end; it is there when both descriptions are. */
  #watchSctp(connection: number, { peer }: Brokered): void {
    const sctp = peer.sctp;
    if (!sctp) return;
    sctp.onstatechange = () => {
      if (sctp.state === "closed") this.#post({ type: "state", connection, state: "closed" });
    };
  }

  #close(connection: number): void {
    const brokered = this.#connections.get(connection);
    if (!brokered) return;
    this.#connections.delete(connection);
    const { peer } = brokered;
    peer.onicecandidate = peer.onconnectionstatechange = peer.ondatachannel = null;
    if (peer.sctp) peer.sctp.onstatechange = null;
    peer.close();
  }

  #post(message: FromBroker, transfer: Transferable[] = []): void {
    this.#port.postMessage(message, transfer);
  }
}

type Described = Extract<ToBroker, { type: "makeOffer" | "makeAnswer" | "applyAnswer" | "addCandidate" }>;

async function describe(message: Described, brokered: Brokered, described: () => void): Promise<string | undefined> {
  const { peer } = brokered;
  switch (message.type) {
    case "makeOffer":
      brokered.init = peer.createDataChannel(INIT);
      return setLocal(peer, await peer.createOffer());
    case "makeAnswer": {
      await peer.setRemoteDescription({ type: "offer", sdp: message.offer });
      const sdp = await setLocal(peer, await peer.createAnswer());
      described();
      return sdp;
    }
    case "applyAnswer":
      await peer.setRemoteDescription({ type: "answer", sdp: message.answer });
      described();
      return undefined;
    case "addCandidate":
      await peer.addIceCandidate(message.candidate);
      return undefined;
  }
}

async function setLocal(peer: RTCPeerConnection, description: RTCSessionDescriptionInit): Promise<string> {
  await peer.setLocalDescription(description);
  return description.sdp ?? "";
}
