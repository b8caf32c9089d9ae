// The first thing a newcomer sees: a name, and they are in.

import { useEffect, useState } from "react";
import { DEFAULT_PROFILE } from "../../host/index.ts";
import { DISPLAY_NAME_MAX_CHARS, type Phase } from "../models/entrance.ts";
import { APP_NAME, strings } from "../strings.ts";
import { Icon } from "./Icon.tsx";
import { Logo } from "./Logo.tsx";
import { usePage } from "./page.ts";
import { StatusBar } from "./StatusBar.tsx";
import { useRoute } from "./use-route.ts";

const SLOW_MS = 4_000;

export function Welcome({ phase }: { phase: Extract<Phase, { at: "welcome" }> }) {
  const { entrance, profile } = usePage();
  const [name, setName] = useState("");
  const route = useRoute();
  const words = strings.welcome;
  const byLink = route.view === "join" && route.parsed.ok;
  useEffect(() => {
    document.title = APP_NAME;
  }, []);
  return (
    <div className="welcome">
      <main className="welcome-card">
        <Logo />
        <h1>{words.title}</h1>
        {profile !== DEFAULT_PROFILE && <p className="profile-tag">{words.profile(profile)}</p>}
        {phase.identityGone && (
          <p className="notice" role="alert">
            {words.identityGone}
          </p>
        )}
        {!phase.identityGone && !byLink && <Introduction />}
        {route.view === "join" && !route.parsed.ok && (
          <p className="notice" role="alert">
            {strings.join.problem[route.parsed.problem]}
          </p>
        )}
        {byLink && <p className="lead">{words.joinAfter}</p>}
        <form
          className="form"
          onSubmit={(event) => {
            event.preventDefault();
            void entrance.enter(name);
          }}
        >
          <label htmlFor="display-name">{words.nameLabel}</label>
          <input
            id="display-name"
            className="field"
            // The one thing to do here, and the page holds nothing before it that a reader would miss.
            // eslint-disable-next-line jsx-a11y/no-autofocus
            autoFocus
            autoComplete="nickname"
            maxLength={DISPLAY_NAME_MAX_CHARS * 2}
            placeholder={words.namePlaceholder}
            value={name}
            onChange={(event) => setName(event.target.value)}
            aria-describedby="display-name-hint"
            aria-invalid={phase.error !== undefined}
          />
          <p id="display-name-hint" className={phase.error === undefined ? "hint" : "problem"} role={phase.error === undefined ? undefined : "alert"}>
            {phase.error ?? words.nameHint}
          </p>
          <button type="submit" className="button primary large" disabled={phase.busy}>
            {byLink ? words.enterAndJoin : words.enter}
          </button>
          <p role="status" className="hint progress-words">
            {phase.busy && <EnteringWords />}
          </p>
        </form>
      </main>
      <StatusBar peopleAt={() => []} />
    </div>
  );
}

function Introduction() {
  return (
    <>
      <p className="lead">{strings.welcome.lead}</p>
      <ul className="points">
        {strings.welcome.points.map((point) => (
          <li key={point}>
            <Icon name="check" />
            {point}
          </li>
        ))}
      </ul>
    </>
  );
}

function EnteringWords() {
  const [slow, setSlow] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setSlow(true), SLOW_MS);
    return () => clearTimeout(timer);
  }, []);
  return slow ? strings.welcome.enteringSlow : strings.welcome.entering;
}
