// Runs before the page: measures what reaches the loudspeaker, whatever made it.

(() => {
  const taps = [];
  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function (target, ...rest) {
    if (target instanceof AudioDestinationNode) {
      const tap = new AnalyserNode(this.context, { fftSize: 2048 });
      connect.call(this, tap);
      taps.push(tap);
    }
    return connect.call(this, target, ...rest);
  };

  const loudness = []; // {at, rms}, every 20 ms
  const samples = new Float32Array(2048);
  setInterval(() => {
    let sum = 0;
    for (const tap of taps) {
      tap.getFloatTimeDomainData(samples);
      sum += samples.reduce((total, sample) => total + sample * sample, 0) / samples.length;
    }
    loudness.push({ at: performance.now(), rms: Math.sqrt(sum) });
  }, 20);

  /** Seconds of sound louder than -50 dB since `since` (ms), and the loudest RMS. */
  window.played = (since = 0) => {
    const heard = loudness.filter(({ at, rms }) => at >= since && rms > 0.003);
    return { seconds: heard.length * 0.02, rms: Math.max(0, ...heard.map(({ rms }) => rms)) };
  };
})();
