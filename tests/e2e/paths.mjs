// What a story needs to know of the paths between browsers: how to leave only the relay's, and how many there are.

/** For `stage.open`: a browser that finds no direct path to anybody, as where UDP is blocked or WebRTC switched off. */
export const RELAY_ONLY = {
  chromiumPreferences: { webrtc: { ip_handling_policy: "disable_non_proxied_udp" } },
  firefoxPrefs: { "media.peerconnection.enabled": false },
};

/** Lets `openPeerConnections` count in this tab; to be called before it opens the page. */
export async function countPeerConnections(tab) {
  const count = () => {
    const Real = globalThis.RTCPeerConnection;
    if (!Real) return;
    const made = new Set();
    globalThis.peerConnections = made;
    globalThis.RTCPeerConnection = class extends Real {
      constructor(...args) {
        super(...args);
        made.add(this);
      }
    };
  };
  await (tab.isPlaywright ? tab.page.addInitScript(count) : tab.page.evaluateOnNewDocument(count));
}

/** The states of this page's peer connections that have not ended. */
export function openPeerConnections(tab) {
  return tab.evaluate(() => [...globalThis.peerConnections].map((peer) => peer.connectionState).filter((state) => state !== "closed" && state !== "failed"));
}
