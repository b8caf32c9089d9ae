// One's own name and user id, the page's colours, and how to use another Matrix app with the same homeserver.

import { useState } from "react";
import type { Account } from "../models/account.ts";
import { DISPLAY_NAME_MAX_CHARS, nameProblem } from "../models/entrance.ts";
import { explainError } from "../models/explain-error.ts";
import { keepTheme, keptTheme, THEMES, type Theme } from "../models/theme.ts";
import { strings } from "../strings.ts";
import { applyTheme } from "./apply-theme.ts";
import { CopyButton } from "./CopyButton.tsx";
import { usePage } from "./page.ts";
import { PaneHeader } from "./PaneHeader.tsx";
import { useReadable } from "./use-readable.ts";

export function Settings({ account }: { account: Account }) {
  const words = strings.settings;
  return (
    <section className="main page">
      <PaneHeader title={words.title} back={{ view: "home" }} backShown="close" />
      <div className="page-body">
        <NameForm account={account} />
        <section aria-labelledby="user-id-title">
          <h2 id="user-id-title">{words.userId}</h2>
          <p className="hint">{words.userIdHint}</p>
          <code className="block">{account.userId}</code>
          <CopyButton text={account.userId} />
        </section>
        <ThemeChoice />
        <OtherApps account={account} />
      </div>
    </section>
  );
}

function NameForm({ account }: { account: Account }) {
  const current = useReadable(account.displayName);
  const [edited, setEdited] = useState<string>();
  const [outcome, setOutcome] = useState<{ saved: boolean; text: string }>();
  const name = edited ?? current;
  const save = async (): Promise<void> => {
    const wrong = nameProblem(name);
    if (wrong !== undefined) return setOutcome({ saved: false, text: wrong });
    try {
      await account.setDisplayName(name);
      setEdited(undefined);
      setOutcome({ saved: true, text: strings.general.saved });
    } catch (error) {
      setOutcome({ saved: false, text: explainError(error) });
    }
  };
  return (
    <form
      className="form"
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      <label htmlFor="own-name" className="section-label">
        {strings.settings.name}
      </label>
      <div className="field-row">
        <input
          id="own-name"
          className="field"
          autoComplete="nickname"
          maxLength={DISPLAY_NAME_MAX_CHARS * 2}
          value={name}
          onChange={(event) => {
            setEdited(event.target.value);
            setOutcome(undefined);
          }}
        />
        <button type="submit" className="button" disabled={name.trim() === current}>
          {strings.general.save}
        </button>
      </div>
      <p role="status" className={outcome?.saved === false ? "problem" : "hint"}>
        {outcome?.text}
      </p>
    </form>
  );
}

function ThemeChoice() {
  const { kept } = usePage();
  const [theme, setTheme] = useState<Theme>(() => keptTheme(kept));
  const choose = (chosen: Theme): void => {
    keepTheme(kept, chosen);
    applyTheme(chosen);
    setTheme(chosen);
  };
  return (
    <fieldset className="segments">
      <legend className="section-label">{strings.settings.theme}</legend>
      {THEMES.map((option) => (
        <label key={option} className="segment">
          <input type="radio" name="theme" checked={theme === option} onChange={() => choose(option)} />
          <span>{strings.settings.themes[option]}</span>
        </label>
      ))}
    </fieldset>
  );
}

function OtherApps({ account }: { account: Account }) {
  const { host } = usePage();
  const [shown, setShown] = useState(false);
  const words = strings.settings;
  const available = useReadable(host.status).serviceWorker !== "unavailable";
  return (
    <section aria-labelledby="other-apps-title">
      <h2 id="other-apps-title">{words.otherApps}</h2>
      <p className="hint">{available ? words.otherAppsHint : words.otherAppsUnavailable}</p>
      {available && (
        <dl className="facts">
          <dt>{words.homeserver}</dt>
          <dd>
            <code>{host.baseUrl}</code>
          </dd>
          <dt>{words.userId}</dt>
          <dd>
            <code>{account.userId}</code>
          </dd>
          <dt>{words.password}</dt>
          <dd className="field-row">
            <code>{shown ? account.password : "••••••••••••"}</code>
            <button type="button" className="button small" aria-pressed={shown} onClick={() => setShown(!shown)}>
              {shown ? words.hidePassword : words.showPassword}
            </button>
          </dd>
        </dl>
      )}
    </section>
  );
}
