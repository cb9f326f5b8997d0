// A browser runs no worker for a page that was opened from a disk. There the search runs in a frame of the page.
if (location.protocol === "file:") {
  const message = (data) => new MessageEvent("message", { data: structuredClone(data) });

  window.Worker = class {
    constructor(script) {
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inside = this.frame.contentWindow;
      // Both sides have a copy of their own, as with a worker.
      inside.postMessage = (data) => setTimeout(() => this.onmessage?.(message(data)));
      this.ready = new Promise((loaded) => {
        const element = inside.document.createElement("script");
        element.src = new URL(script, location.href);
        element.onload = loaded;
        inside.document.head.append(element);
      });
    }

    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow?.dispatchEvent(message(data)));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
