/* Search when a page is opened from a folder: browsers refuse a Worker on file:, so its script runs
 * in a hidden frame that speaks as a Worker does. Material's search looks for `IFrameWorker`. */
"use strict";

class IFrameWorker extends EventTarget {
  constructor(url) {
    super();
    this.frame = document.createElement("iframe");
    this.frame.hidden = true;
    document.body.appendChild(this.frame);
    const inside = this.frame.contentWindow;
    window.addEventListener("message", (event) => {
      if (event.source === inside) {
        this.dispatchEvent(new MessageEvent("message", { data: event.data }));
      }
    });
    this.loaded = new Promise((resolve) => this.frame.addEventListener("load", resolve));
    inside.document.open();
    inside.document.write(
      "<script>postMessage = (data) => parent.postMessage(data, '*')</script>" +
        `<script src="${url}"></script>`,
    );
    inside.document.close();
  }

  postMessage(data) {
    this.loaded.then(() => {
      const inside = this.frame.contentWindow;
      inside.dispatchEvent(new inside.MessageEvent("message", { data }));
    });
  }

  terminate() {
    this.frame.remove();
  }
}

if (location.protocol === "file:") {
  window.IFrameWorker = IFrameWorker;
  window.Worker = IFrameWorker;
}
