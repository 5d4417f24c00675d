// Builds the page's objects and binds the controls to them.

import { Microphone } from "./audio/microphone.js";
import { Player } from "./audio/player.js";
import { Replay } from "./audio/replay.js";
import { Sound } from "./audio/sound.js";
import { Camera } from "./media/camera.js";
import { CAN_RECORD, deviceProblem } from "./media/devices.js";
import { WakeLock } from "./media/wake_lock.js";
import { Connection } from "./realtime/connection.js";
import { storedKey } from "./realtime/key.js";
import { Conversation } from "./talk/conversation.js";
import { Sight } from "./talk/sight.js";
import { Talk } from "./talk/talk.js";
import { UserSpeech } from "./talk/user_speech.js";
import { bindTheme } from "./theme.js";
import { Announcer } from "./view/announcer.js";
import { CaptionsView } from "./view/captions_view.js";
import { DownloadDialog } from "./view/download_dialog.js";
import { KeyDialog } from "./view/key_dialog.js";
import { bindKeyboard, releaseFocusAfterClicks } from "./view/keyboard.js";
import { Notices } from "./view/notices.js";
import { PictureInput } from "./view/picture_input.js";
import { SettingsView } from "./view/settings_view.js";
import { StatusView } from "./view/status_view.js";
import { bindTalkButton } from "./view/talk_button.js";

const $ = (id) => document.getElementById(id);

const sound = new Sound();
const talk = new Talk();
const connection = new Connection();
const microphone = new Microphone(sound);
const player = new Player(sound);
const replay = new Replay(sound);
const camera = new Camera($("preview"));
const speech = new UserSpeech({ connection, microphone, sound });
const sight = new Sight({ connection, camera, talk });
const conversation = new Conversation({ connection, talk, player, speech, sight });
const wakeLock = new WakeLock();

const notices = new Notices($("notices"));
const keyDialog = new KeyDialog({ dialog: $("key-dialog"), input: $("key"), hint: $("key-hint") });
const status = new StatusView({
  body: document.body,
  connection: $("connection"),
  model: $("model"),
  activity: $("activity"),
  button: $("talk"),
  label: $("talk-label"),
  mode: $("mode"),
});
const settings = new SettingsView({
  dialog: $("settings"),
  opener: $("open-settings"),
  microphones: $("microphones"),
  cameras: $("cameras"),
  voices: $("voices"),
});
const captions = new CaptionsView({
  list: $("captions"),
  stage: $("stage"),
  template: $("utterance"),
  talk,
  onReplay: (utterance) => replay.toggle(utterance),
  onTakeBack: (utterance) => sight.remove(utterance.id),
});
const pictures = new PictureInput({ button: $("add-picture"), file: $("picture-file"), drop: $("drop") });
new Announcer({ region: $("announcer"), talk });
new DownloadDialog({
  dialog: $("download-dialog"),
  opener: $("download"),
  sound: $("download-sound"),
  captions: $("download-captions"),
  talk,
});

/** Opens what a talk needs. In a tap: the sound comes first, before anything is awaited. → whether there is sound. */
async function begin() {
  const opened = sound.open();
  document.body.classList.add("begun");
  connect();
  try {
    await opened;
    return true;
  } catch (error) {
    notices.problem(error.message);
    return false;
  }
}

function connect() {
  connection.key = storedKey();
  connection.open();
}

async function startTalking() {
  if (!(await begin())) return;
  try {
    await microphone.start($("microphones").value);
    settings.showDevices();
  } catch (error) {
    notices.problem(CAN_RECORD ? deviceProblem(error, "microphone") : "The microphone needs https; see docs/page.md");
  }
  showActivity();
}

function stopAnswer() {
  replay.stop();
  conversation.interrupt();
}

function toggleMute() {
  if (!microphone.open) return;
  microphone.mute(!microphone.muted);
  showActivity();
}

/** What the talk button does when it is not held. */
function press() {
  if (["speaking", "thinking"].includes(conversation.activity)) return stopAnswer();
  if (!microphone.open) return startTalking();
  if (speech.handsFree) return toggleMute();
  speech.held === null ? hold() : letGo(); // by Enter or a screen reader: who cannot hold presses twice
}

function hold() {
  replay.stop();
  document.body.classList.add("pressed");
  conversation.press();
}

function letGo() {
  document.body.classList.remove("pressed");
  conversation.release();
}

const isHeld = () => !speech.handsFree && microphone.open;

async function toggleSight(kind, start) {
  if (camera.kind === kind) return camera.stop();
  try {
    await begin();
    await start();
    settings.showDevices();
  } catch (error) {
    if (kind === "camera" || error.name !== "NotAllowedError") notices.problem(deviceProblem(error, kind));
  }
}

function setMode(handsFree) {
  conversation.setHandsFree(handsFree);
  settings.showMode(handsFree);
  showMode();
}

function showMode() {
  status.showMode(speech.handsFree);
}

function showActivity() {
  const { activity } = conversation;
  status.showActivity(activity, { microphone: microphone.open, muted: microphone.muted, handsFree: speech.handsFree });
  $("mute").disabled = !microphone.open;
  $("mute").setAttribute("aria-pressed", microphone.muted);
}

function showConnection() {
  status.showConnection(connection.state, connection.model?.id);
  wakeLock.want(connection.state !== "closed");
}

function showSight() {
  $("sight").hidden = !camera.on;
  $("sight").dataset.kind = camera.kind;
  $("sight").classList.toggle("mirrored", camera.mirrored);
  $("sight-label").textContent = camera.kind === "screen" ? "Screen" : "Camera";
  $("flip").hidden = camera.kind !== "camera";
  $("camera").setAttribute("aria-pressed", camera.kind === "camera");
  $("screen").setAttribute("aria-pressed", camera.kind === "screen");
  document.body.classList.toggle("has-sight", camera.on);
}

async function refused(error) {
  if (!error.needsKey) return notices.problem(error.message);
  const key = await keyDialog.ask(error.message);
  if (key) connect();
}

function bindObjects() {
  connection.addEventListener("state", showConnection);
  connection.addEventListener("refused", ({ detail }) => refused(detail.error));
  connection.addEventListener("event", ({ detail: { event } }) => {
    if (event.type === "parley.session") settings.showVoices(event.speakers);
  });
  conversation.addEventListener("activity", showActivity);
  conversation.addEventListener("problem", ({ detail }) => notices.problem(detail.message));
  conversation.addEventListener("note", ({ detail }) => notices.note(detail.message));
  speech.addEventListener("level", ({ detail }) => conversation.activity !== "speaking" && status.showLevel(detail.rms));
  player.addEventListener("playing", ({ detail }) => player.busy && status.showLevel(detail.level));
  microphone.addEventListener("ended", () => notices.problem("The microphone is gone; start again"));
  microphone.addEventListener("ended", showActivity);
  camera.addEventListener("changed", showSight);
  replay.addEventListener("changed", ({ detail }) => captions.showReplay(detail.id));
  talk.addEventListener("changed", () => ($("welcome").hidden = true));
}

function bindSettings() {
  settings.addEventListener("mode", ({ detail }) => setMode(detail.handsFree));
  settings.addEventListener("voice", ({ detail }) => conversation.setVoice(detail.voice));
  settings.addEventListener("microphone", () => microphone.open && startTalking());
  settings.addEventListener("camera", async ({ detail }) => {
    if (camera.kind === "camera") await camera.start(detail.id).catch((error) => notices.problem(deviceProblem(error, "camera")));
  });
}

function bindControls() {
  bindTheme($("theme"));
  bindTalkButton($("talk"), { isHeld, onDown: hold, onUp: letGo, onPress: press });
  $("start").addEventListener("click", startTalking);
  $("mute").addEventListener("click", toggleMute);
  $("mode").addEventListener("click", () => setMode(!speech.handsFree));
  $("camera").addEventListener("click", () => toggleSight("camera", () => camera.start($("cameras").value)));
  $("screen").addEventListener("click", () => toggleSight("screen", () => camera.startScreen()));
  $("flip").addEventListener("click", () => camera.flip().catch((error) => notices.problem(deviceProblem(error, "camera"))));
  $("stop-sight").addEventListener("click", () => camera.stop());
  $("type").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("text").value.trim();
    if (!text) return;
    $("text").value = "";
    begin();
    conversation.type(text);
  });
  pictures.addEventListener("picture", ({ detail }) => {
    begin();
    sight.show(detail.url);
  });
  pictures.addEventListener("problem", ({ detail }) => notices.problem(detail.message));
  bindKeyboard({
    onSpaceDown: () => (isHeld() ? hold() : press()),
    onSpaceUp: letGo,
    onEscape: stopAnswer,
    letters: { m: toggleMute, c: () => $("camera").click(), t: () => $("text").focus() },
  });
}

bindObjects();
bindSettings();
bindControls();
releaseFocusAfterClicks();
storedKey(); // out of the address bar, before anybody reads it there
showConnection();
showActivity();
showMode();
if (!CAN_RECORD) $("start-hint").textContent = "The microphone and the camera need https. You can ask in writing.";
if (!navigator.mediaDevices?.getDisplayMedia) $("screen").hidden = true;
