import type { Dashboard } from "@grafana/schema/dist/types/raw/dashboard/x/types.gen";
import type * as bargauge from "@grafana/schema/dist/types/raw/composable/bargauge/panelcfg/x/types.gen";
import type * as heatmap from "@grafana/schema/dist/types/raw/composable/heatmap/panelcfg/x/types.gen";
import type * as stat from "@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen";
import type * as statetimeline from "@grafana/schema/dist/types/raw/composable/statetimeline/panelcfg/x/types.gen";
import type * as table from "@grafana/schema/dist/types/raw/composable/table/panelcfg/x/types.gen";
import type * as timeseries from "@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen";

/** What the dashboards are made of: the dashboard itself, and the options and fields of each kind of panel. */
export interface Shapes {
  dashboard: Dashboard;
  options: {
    bargauge: bargauge.Options;
    heatmap: heatmap.Options;
    stat: stat.Options;
    "state-timeline": statetimeline.Options;
    table: table.Options;
    timeseries: timeseries.Options;
  };
  custom: {
    heatmap: heatmap.FieldConfig;
    "state-timeline": statetimeline.FieldConfig;
    table: table.FieldConfig;
    timeseries: timeseries.FieldConfig;
  };
}
