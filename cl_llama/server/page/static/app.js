// Puts the page together: which conversation is open, and what its buttons do to it.

import { announce } from "./announce.js";
import { Composer } from "./composer.js";
import {
  addMessage, choose, isEmpty, newConversation, path, removeMessage, ROOT, titleOf, touch,
} from "./conversation.js";
import { Frame } from "./frame.js";
import { Generation } from "./generation.js";
import { ScrollFollow } from "./scroll_follow.js";
import { SettingsPanel } from "./settings_panel.js";
import { Sidebar } from "./sidebar.js";
import { StoryView } from "./story_view.js";
import { joined, rewrite } from "./text_pieces.js";
import { splitThought } from "./thought.js";
import { toast } from "./toast.js";
import { Transcript } from "./transcript.js";
import { welcome } from "./welcome.js";

const READ_OUT = 600;
const get = (id) => document.getElementById(id);

export class App {
  constructor(library, server) {
    this.library = library;
    this.server = server;
    this.generations = new Map(); // conversation id -> what is being written in it
    this.frame = new Frame(this);
    this.scroll = new ScrollFollow(get("scroller"), get("jump"));
    this.composer = new Composer(get("composer"), {
      send: (text) => this.send(text),
      stop: () => this.stop(),
      editLast: () => this.view.editLast(),
    });
    this.sidebar = new Sidebar(get("list"), get("search"), library, {
      open: (conversation) => this.open(conversation),
      rename: (conversation, title) => this.rename(conversation, title),
      remove: (conversation) => this.remove(conversation),
    });
    this.settings = new SettingsPanel(get("settings-panel"), (conversation) => this.#kept(conversation), toast);
    const actions = {
      choose: (message) => this.choose(message),
      again: (message) => this.again(message),
      goOn: (message) => this.#write(message),
      edit: (message, text) => this.edit(message, text),
      remove: (message) => this.removeMessage(message),
      rewrite: (text) => this.rewrite(text),
      newConversation: () => this.begin(),
      askKey: (message) => this.askKey(message),
    };
    this.views = { chat: new Transcript(actions), text: new StoryView(actions) };
    library.addEventListener("change", () => this.draw());
    library.addEventListener("full", () => this.frame.storageFull());
    server.addEventListener("change", () => this.#serverChanged());
    setInterval(() => this.#tick(), 1000);
  }

  get view() {
    return this.views[this.conversation.mode];
  }

  get generation() {
    return this.generations.get(this.conversation.id);
  }

  open(conversation) {
    this.conversation = conversation;
    const empty = isEmpty(conversation);
    history.replaceState(null, "", empty ? location.pathname : `#${conversation.id}`);
    this.frame.closeDrawer();
    this.draw();
    this.scroll.toEnd();
    if (matchMedia("(pointer: fine)").matches) this.composer.focus();
  }

  /** A new conversation; an empty one that is open will do. */
  begin(mode = this.#usualMode()) {
    this.open(newConversation(mode));
  }

  send(text) {
    const { conversation } = this;
    if (this.generation) return false;
    const last = path(conversation).at(-1);
    let parent = last?.id ?? ROOT;
    if (text.trim()) {
      const words = conversation.mode === "text" ? joined(last?.text ?? "", text) : text.trim();
      parent = addMessage(conversation, parent, "user", words).id;
    } else if (conversation.mode === "chat" && last?.role !== "user") return false;
    this.#write(addMessage(conversation, parent, "assistant", ""));
    this.scroll.toEnd();
    return true;
  }

  stop() {
    this.generation?.stop();
  }

  /** Another answer in the place of one; one that never began is simply tried again. */
  again(message) {
    if (this.generation) return;
    const { conversation } = this;
    const begun = message.text !== "";
    this.#write(begun ? addMessage(conversation, message.parent, "assistant", "") : message);
  }

  /** Another question in the place of one, with an answer of its own. */
  edit(message, text) {
    if (this.generation) return;
    const { conversation } = this;
    const question = addMessage(conversation, message.parent, "user", text.trim());
    this.#write(addMessage(conversation, question.id, "assistant", ""));
  }

  rewrite(text) {
    rewrite(this.conversation, text);
    this.#kept(this.conversation);
  }

  choose(message) {
    choose(this.conversation, message);
    this.#kept(this.conversation);
  }

  removeMessage(message) {
    const { conversation } = this;
    const before = structuredClone({ messages: conversation.messages, chosen: conversation.chosen });
    removeMessage(conversation, message);
    this.#kept(conversation);
    toast(conversation.mode === "text" ? "Taken back." : "Message deleted.", () => {
      Object.assign(conversation, before);
      for (const one of Object.values(conversation.messages)) touch(conversation, one);
      this.#kept(conversation);
    });
    if (isEmpty(conversation)) this.open(conversation);
  }

  rename(conversation, title) {
    Object.assign(conversation, { title, renamed: true });
    this.#kept(conversation);
  }

  remove(conversation) {
    this.generations.get(conversation.id)?.stop();
    this.library.remove(conversation);
    if (conversation.id === this.conversation.id) this.begin();
    toast("Conversation deleted.", () => {
      this.library.save(conversation);
      this.open(conversation);
    });
  }

  async askKey(message) {
    if (await this.server.askKey()) this.again(message);
  }

  /** Draws everything as it is now. */
  draw() {
    if (!this.conversation) return;
    // Another tab's changes may have put a new object into the library.
    this.conversation = this.library.get(this.conversation.id) ?? this.conversation;
    const { conversation, generation, view } = this;
    const { model } = this.server;
    const empty = isEmpty(conversation);
    const text = conversation.mode === "text";
    document.body.dataset.mode = conversation.mode;
    document.body.classList.toggle("empty", empty);
    get("welcome").hidden = !empty;
    if (empty) this.#drawWelcome(conversation.mode, model);
    else this.welcomeKey = null;
    get("conversation").replaceChildren(...(empty ? [] : [view.element]));
    if (!empty) view.show(conversation, generation);
    const waits = !empty && path(conversation).at(-1).role === "user"; // its answer was deleted
    const cannot = !text && model?.meta.chat === false;
    this.composer.show(conversation.id, {
      placeholder: cannot ? "This model continues texts only" : placeholder(text, empty),
      label: text ? "Go on" : "Send",
      needsText: !text && !waits,
      disabled: cannot,
    });
    this.composer.setWriting(Boolean(generation));
    this.sidebar.draw(conversation.id);
    this.frame.draw(conversation, this.server);
    this.scroll.grown();
  }

  #drawWelcome(mode, model) {
    const key = `${mode} ${model?.meta.chat}`;
    if (key === this.welcomeKey || !model) return;
    this.welcomeKey = key;
    get("welcome").replaceChildren(welcome(mode, model, {
      fill: (text) => this.composer.fill(text),
      send: (text) => this.send(text),
      setMode: (chosen) => this.begin(chosen),
    }));
  }

  #usualMode() {
    const { model } = this.server;
    if (model?.meta.chat === false) return "text";
    return this.conversation?.mode ?? "chat";
  }

  async #write(answer) {
    const { conversation } = this;
    const generation = new Generation(conversation, answer, this.server);
    this.generations.set(conversation.id, generation);
    let drawn = false;
    generation.events.addEventListener("update", () => {
      this.library.touch(conversation);
      if (drawn || conversation.id !== this.conversation.id) return;
      drawn = true;
      requestAnimationFrame(() => {
        drawn = false;
        this.#grow(generation);
      });
    });
    history.replaceState(null, "", `#${conversation.id}`);
    this.#kept(conversation);
    announce("The model is writing.");
    await generation.run();
    this.generations.delete(conversation.id);
    if (!conversation.title) conversation.title = titleOf(answer.text);
    this.#kept(conversation);
    this.#ended(conversation, answer);
  }

  #grow(generation) {
    const { conversation } = this;
    if (this.generation !== generation) return;
    this.view.grow(conversation, generation);
    this.frame.drawMeter(conversation);
    this.scroll.grown();
  }

  #ended(conversation, answer) {
    const { problem } = answer;
    if (conversation.id === this.conversation.id) {
      const said = splitThought(answer.text).answer.slice(0, READ_OUT);
      announce(problem ? problem.message : `The model wrote: ${said}`);
    }
    if (problem?.kind === "key") this.askKey(answer);
    else if (problem && problem.kind !== "context") this.server.look(); // is it there, is it the same
  }

  #serverChanged() {
    const { model } = this.server;
    const empty = !this.conversation || isEmpty(this.conversation);
    if (model?.meta.chat === false && empty && this.conversation?.mode === "chat") this.begin();
    this.draw();
  }

  /** A conversation has changed: keep it, and show it. */
  #kept(conversation) {
    if (isEmpty(conversation)) this.draw();
    else this.library.save(conversation);
  }

  /** Counts the seconds down while an answer waits for a busy server. */
  #tick() {
    if (this.generation?.state === "retrying") this.#grow(this.generation);
  }
}

function placeholder(text, empty) {
  if (!text) return "Write a message";
  return empty ? "Once upon a time …" : "Write on, or let the model go on";
}
