/* What asv's pages do differently here: figures come out of one file, data.js, so that the site
   opens from a folder, too; a lone point is seen; the legend stands above its graph. */
(function () {
    var ask = $.ajax, plot = $.plot;

    $.ajax = function (options) {
        var path = decodeURIComponent(options.url.split("?")[0]).split("/"), file = path.pop();
        var found = (PACKED[path.join("/")] || {})[file], answer = $.Deferred();
        if (found === undefined) return ask.apply($, arguments);
        setTimeout(answer.resolve, 0, found);
        return answer.promise();
    };

    function known(series) {
        return (series.data || []).filter(function (point) { return point[1] !== null; });
    }

    $.plot = function (place, series, options) {
        series.forEach(function (one) {
            if (known(one).length !== 1) return;
            one.points = {show: true, radius: 3};
            // in the middle, not on the edge
            if (series.length === 1) options.yaxis.max = 2 * known(one)[0][1] || 1;
        });
        if ($(place).is("#main-graph")) {
            options.legend.container = $("#legend");
            options.legend.labelFormatter = function (label) {
                return label.replace(/\b(side|size)-/g, "");
            };
        }
        return plot.apply($, arguments);
    };
    $.extend($.plot, plot);
})();
