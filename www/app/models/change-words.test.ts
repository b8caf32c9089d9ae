// Holds the sentence for each kind of change of membership: who did it to whom is easily mixed up.

import { expect, it } from "vitest";
import { changeWords } from "./change-words.ts";

const ADA = "@ada:a.example";
const BOB = "@bob:b.example";
const nameOf = (userId: string): string => (userId === ADA ? "Ada" : "Bob");

function member(sender: string, of: string, to: string, from?: string, more: Record<string, unknown> = {}): string | undefined {
  const previous = from === undefined ? undefined : { membership: from };
  return changeWords({ type: "m.room.member", sender, stateKey: of, content: { membership: to, ...more }, previous }, nameOf);
}

it.each([
  [member(BOB, BOB, "join"), "Bob joined"],
  [member(BOB, BOB, "join", "invite"), "Bob joined"],
  [member(ADA, BOB, "invite"), "Ada invited Bob"],
  [member(BOB, BOB, "leave", "invite"), "Bob declined the invitation"],
  [member(ADA, BOB, "leave", "invite"), "Ada withdrew the invitation of Bob"],
  [member(BOB, BOB, "leave", "join"), "Bob left"],
  [member(ADA, BOB, "leave", "join"), "Ada removed Bob"],
  [member(ADA, BOB, "leave", "join", { reason: "spam" }), "Ada removed Bob: “spam”"],
  [member(ADA, BOB, "ban", "join", { reason: "\u202Espam\n" }), "Ada banned Bob: “spam”"],
  [member(ADA, BOB, "leave", "ban"), "Ada lifted the ban of Bob"],
  [member(BOB, BOB, "join", "join"), undefined],
  [member(BOB, BOB, "join", "join", { avatar_url: "mxc://a/b" }), "Bob changed their picture"],
  [member(BOB, BOB, "join", "join", { displayname: "Robert" }), "Bob is now called Robert"],
])("%s", (said, expected) => {
  expect(said).toBe(expected);
});
