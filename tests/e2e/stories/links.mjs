// Links that are not whole, or not ours, say so; a link made on this machine says where it works.
import assert from "node:assert/strict";
import { comesIn, Person } from "../person.mjs";

const ROOM = "Garden party";

export const story = {
  name: "a link that is cut short or foreign says so, and one of this machine says where it works",
  browsers: ["chromium", "firefox"],
  async run(stage) {
    const { browser, person: anna } = await comesIn(stage, "Anna");
    await anna.createRoom(ROOM);
    await anna.tab.seeText("works on this machine only");
    const link = await anna.link();
    assert.equal(new URL(link).origin, new URL(stage.relay.url).origin);

    // Lost its end on the way.
    const cut = link.slice(0, -20);
    const newcomer = await stage.open("ben");
    const ben = new Person("Ben", await newcomer.tab(cut));
    await ben.tab.seeText("This link is cut short");
    await ben.enter();
    await ben.tab.seeText("This link is cut short");
    await ben.tab.click('.button-row a[href="#/"]');
    assert.deepEqual(await ben.rooms(), []);

    await ben.opensLink("https://matrix.to/#/!abc:example.org");
    await ben.tab.seeText("This link is for another Matrix app");
    await ben.opensLink("https://example.org/");
    await ben.tab.seeText("This is not a link to a Warren room");
    await ben.opensLink(link.replace("via=k51", "via=_"));
    await ben.tab.seeText("The name of a homeserver in this link is damaged");
    await ben.opensLink(link);
    await ben.untilInRoom();
    assert.deepEqual(await ben.rooms(), [ROOM]);

    // A server that this homeserver has no way to, ever, as its name ends in .alt.
    const elsewhere = `#/join/!${"a".repeat(43)}?via=example.org&v=1`;
    await ben.opensLink(new URL(elsewhere, stage.relay.url).href);
    await ben.tab.seeText("example.org cannot be reached from here: the name of this homeserver ends in .alt");
    await anna.tab.fill("#invite-user-id", "@carol:example.org");
    await anna.tab.click(".panel form button[type=submit]");
    await anna.tab.seeText("Trying again does not help.");

    // The same link again is the same room.
    const second = new Person("Anna", await browser.tab(link));
    await second.untilInRoom();
    assert.deepEqual(await second.rooms(), [ROOM]);
  },
};
