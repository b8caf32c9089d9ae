// Finds web addresses in a message, so that they can be followed. Text stays text: no markup is ever made of it.

export type TextPiece = { text: string; url?: string };

const WEB_ADDRESS = /\bhttps?:\/\/[^\s<>"'`]+/gi;
const LINKS_MAX_PER_MESSAGE = 50;

/** The text cut into plain pieces and addresses; joined again, the pieces are the text. */
export function linkify(text: string): TextPiece[] {
  const pieces: TextPiece[] = [];
  let end = 0;
  let links = 0;
  for (const match of text.matchAll(WEB_ADDRESS)) {
    const address = withoutTrailingPunctuation(match[0]);
    if (links === LINKS_MAX_PER_MESSAGE) break;
    if (!URL.canParse(address)) continue;
    if (match.index > end) pieces.push({ text: text.slice(end, match.index) });
    pieces.push({ text: address, url: address });
    end = match.index + address.length;
    links += 1;
  }
  if (end < text.length) pieces.push({ text: text.slice(end) });
  return pieces;
}

/** A full stop after an address ends the sentence; a bracket ends it unless the address opened one. */
function withoutTrailingPunctuation(address: string): string {
  let kept = address.replace(/[.,;:!?]+$/, "");
  while (kept.endsWith(")") && count(kept, ")") > count(kept, "(")) kept = kept.slice(0, -1).replace(/[.,;:!?]+$/, "");
  return kept;
}

function count(text: string, character: string): number {
  return text.split(character).length - 1;
}
