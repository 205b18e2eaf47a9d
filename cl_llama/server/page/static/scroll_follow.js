// Keeps the end of a growing text in view, but only for who is reading there.

const NEAR_PX = 48;

export class ScrollFollow {
  /** jump: a button that appears while the end is out of view. */
  constructor(scroller, jump) {
    this.scroller = scroller;
    this.jump = jump;
    this.following = true;
    scroller.addEventListener("scroll", () => this.#look(), { passive: true });
    jump.addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => this.grown()).observe(scroller);
  }

  /** The text has grown. */
  grown() {
    if (this.following) this.toEnd();
    else this.#look();
  }

  toEnd() {
    this.following = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.jump.hidden = true;
  }

  #look() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.following = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    this.jump.hidden = this.following;
  }
}
