// One's own name and user id, the page's colours, and how to use another Matrix app with the same homeserver.

import { useState } from "react";
import { ICE_SERVERS_MAX, keepIceSettings, parseIceServers, readIceSettings, type IceSettings } from "../../host/index.ts";
import type { Account } from "../models/account.ts";
import { DISPLAY_NAME_MAX_CHARS, nameProblem } from "../models/entrance.ts";
import { keepTheme, keptTheme, THEMES, type Theme } from "../models/theme.ts";
import { strings } from "../strings.ts";
import { applyTheme } from "./apply-theme.ts";
import { CopyButton } from "./CopyButton.tsx";
import { usePage } from "./page.ts";
import { PaneHeader } from "./PaneHeader.tsx";
import { outcomeOf, SaveForm, type Outcome } from "./SaveForm.tsx";
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
        <Paths />
        <OtherApps account={account} />
      </div>
    </section>
  );
}

function NameForm({ account }: { account: Account }) {
  const current = useReadable(account.displayName);
  const [edited, setEdited] = useState<string>();
  const [outcome, setOutcome] = useState<Outcome>();
  const name = edited ?? current;
  const save = async (): Promise<void> => {
    const came = await outcomeOf(nameProblem(name), () => account.setDisplayName(name));
    if (came.saved) setEdited(undefined);
    setOutcome(came);
  };
  return (
    <SaveForm onSave={() => void save()} outcome={outcome}>
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
    </SaveForm>
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

/** How this browser looks for direct paths. */
function Paths() {
  const { profile } = usePage();
  const words = strings.settings;
  const [settings, setSettings] = useState<IceSettings>(() => readIceSettings(profile));
  const [outcome, setOutcome] = useState<Outcome>();
  const change = (changed: Partial<IceSettings>): void => {
    setSettings({ ...settings, ...changed });
    setOutcome(undefined);
  };
  const save = (): void => {
    const parsed = parseIceServers(settings.servers);
    if ("badLine" in parsed) return setOutcome({ saved: false, text: words.badIceServer(parsed.badLine, ICE_SERVERS_MAX) });
    const saved = keepIceSettings(profile, settings);
    setOutcome({ saved, text: saved ? words.pathsSaved : words.notKept });
  };
  return (
    <section aria-labelledby="paths-title">
      <h2 id="paths-title">{words.paths}</h2>
      <SaveForm onSave={save} outcome={outcome}>
        <label className="choice">
          <input type="checkbox" checked={settings.hideAddresses} onChange={(event) => change({ hideAddresses: event.target.checked })} />
          <span className="choice-title">{words.hideAddresses}</span>
          <span className="hint">{words.hideAddressesHint}</span>
        </label>
        <label htmlFor="ice-servers" className="section-label">
          {words.iceServers}
        </label>
        <textarea
          id="ice-servers"
          className="field"
          rows={2}
          spellCheck={false}
          aria-describedby="ice-servers-hint"
          value={settings.servers}
          onChange={(event) => change({ servers: event.target.value })}
        />
        <p id="ice-servers-hint" className="hint">
          {words.iceServersHint}
        </p>
        <div className="field-row">
          <button type="submit" className="button">
            {strings.general.save}
          </button>
          {outcome?.saved === true && (
            <button type="button" className="link-button" onClick={() => location.reload()}>
              {strings.status.reload}
            </button>
          )}
        </div>
      </SaveForm>
    </section>
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
