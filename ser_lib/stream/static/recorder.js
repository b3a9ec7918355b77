// A button that records from the browser's microphone. The recording, in whatever format the browser gives, goes to
// Python as bytes.
function render({ model, el }) {
  const button = document.createElement("button");
  const note = document.createElement("span");
  button.className = "jupyter-button widget-button lm-Widget";
  note.style.marginLeft = "0.8em";
  button.textContent = "Record";
  el.append(button, note);
  let recorder = null;

  async function start() {
    if (!navigator.mediaDevices) {
      note.textContent = "This browser gives no microphone here: it does so for https and localhost alone.";
      return;
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch (error) {
      note.textContent = `No microphone: ${error.message}`;
      return;
    }
    const parts = [];
    recorder = new MediaRecorder(stream);
    recorder.ondataavailable = (event) => parts.push(event.data);
    recorder.onstop = async () => {
      stream.getTracks().forEach((track) => track.stop());
      const bytes = await new Blob(parts).arrayBuffer();
      model.set("recording", new DataView(bytes));
      model.save_changes();
      note.textContent = "";
    };
    recorder.start();
    button.textContent = "Stop";
    note.textContent = "Recording …";
  }

  button.onclick = () => {
    if (recorder && recorder.state === "recording") {
      recorder.stop();
      button.textContent = "Record";
    } else {
      start();
    }
  };
}

export default { render };
