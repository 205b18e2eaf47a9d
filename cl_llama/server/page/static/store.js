// Conversations in the browser's IndexedDB, one record each, shared by all tabs of this server.

import { merge } from "./conversation.js";

const DATABASE = "cl-llama";
const RECORDS = "conversations";

/**
 * Opens the store. Where the browser offers none (a private window), `kept` is false and everything
 * lives as long as the tab.
 */
export async function openStore() {
  try {
    return new Store(await openDatabase());
  } catch {
    return new TabStore();
  }
}

class Store {
  kept = true;

  constructor(database) {
    this.database = database;
    this.channel = new BroadcastChannel(`cl-llama ${location.pathname}`);
  }

  /** Every conversation. */
  all() {
    const records = this.database.transaction(RECORDS).objectStore(RECORDS);
    return finished(records.getAll());
  }

  get(id) {
    return finished(this.database.transaction(RECORDS).objectStore(RECORDS).get(id));
  }

  /**
   * Saves a conversation together with what another tab has added to it meanwhile. Rejects with a
   * QuotaExceededError where the browser has no room left.
   */
  async put(conversation) {
    const transaction = this.database.transaction(RECORDS, "readwrite");
    const records = transaction.objectStore(RECORDS);
    const stored = await finished(records.get(conversation.id));
    if (stored) merge(conversation, stored);
    records.put(conversation);
    await done(transaction);
    this.channel.postMessage({ saved: conversation.id });
  }

  async delete(id) {
    const transaction = this.database.transaction(RECORDS, "readwrite");
    transaction.objectStore(RECORDS).delete(id);
    await done(transaction);
    this.channel.postMessage({ deleted: id });
  }

  /** Calls back with {saved: id} or {deleted: id} when another tab has changed one. */
  onOtherTab(callback) {
    this.channel.addEventListener("message", ({ data }) => callback(data));
  }
}

class TabStore {
  kept = false;

  async all() {
    return [];
  }

  async get() {
    return undefined;
  }

  async put() {}

  async delete() {}

  onOtherTab() {}
}

function openDatabase() {
  const request = indexedDB.open(DATABASE, 1);
  request.addEventListener("upgradeneeded", () => {
    request.result.createObjectStore(RECORDS, { keyPath: "id" });
  });
  return finished(request);
}

function finished(request) {
  return new Promise((resolve, reject) => {
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => reject(request.error));
    request.addEventListener("blocked", () => reject(new Error("another tab holds the store")));
  });
}

function done(transaction) {
  return new Promise((resolve, reject) => {
    transaction.addEventListener("complete", () => resolve());
    transaction.addEventListener("abort", () => reject(transaction.error));
  });
}
