// Somebody invited by user id while their tab is closed finds the invitation when they return.
import { comesIn, Person } from "../person.mjs";

const ROOM = "Only us";

export const story = {
  name: "an invitation to somebody who is away arrives when they return",
  browsers: ["chromium", "firefox"],
  timeoutMs: 150_000,
  async run(stage) {
    const { browser: bensBrowser, person: ben } = await comesIn(stage, "Ben");
    const bensId = await ben.userId();
    await bensBrowser.close();

    const { person: anna } = await comesIn(stage, "Anna");
    await anna.createRoom(ROOM, { byInvitation: true });
    await anna.invite(bensId);
    await anna.status("1 message waits");

    const again = new Person("Ben", await (await stage.open("ben")).tab("/"));
    await again.acceptInvitation(ROOM);
    await anna.closePanel();
    await anna.write("Welcome");
    await again.reads("Welcome");
    await again.write("Here I am");
    await anna.reads("Welcome", "Here I am");
    await anna.status("1 peer connected");
    await anna.status("all sent");
  },
};
