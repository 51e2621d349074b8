// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4 <0.9.0;

/// @title Codes and scales of metrics
/// @notice `SCALE` units of a proven value make one unit of the metric: 3.12 °C is 312. Write
/// thresholds with it: `25 * Metrics.AIR_TEMPERATURE_SCALE`.
/// @dev Written by tools/solidity_metrics.py from the vocabulary.
library Metrics {
    uint16 internal constant AIR_TEMPERATURE = 1;
    int32 internal constant AIR_TEMPERATURE_SCALE = 100; // make 1 Cel
    uint16 internal constant DEW_POINT = 2;
    int32 internal constant DEW_POINT_SCALE = 100; // make 1 Cel
    uint16 internal constant RELATIVE_HUMIDITY = 3;
    int32 internal constant RELATIVE_HUMIDITY_SCALE = 100; // make 1 %
    uint16 internal constant PRESSURE = 4;
    int32 internal constant PRESSURE_SCALE = 100; // make 1 hPa
    uint16 internal constant WIND_SPEED = 5;
    int32 internal constant WIND_SPEED_SCALE = 100; // make 1 m/s
    uint16 internal constant WIND_GUST = 6;
    int32 internal constant WIND_GUST_SCALE = 100; // make 1 m/s
    uint16 internal constant WIND_DIRECTION = 7;
    int32 internal constant WIND_DIRECTION_SCALE = 1; // make 1 deg
    uint16 internal constant PRECIPITATION = 8;
    int32 internal constant PRECIPITATION_SCALE = 100; // make 1 mm
    uint16 internal constant VISIBILITY = 9;
    int32 internal constant VISIBILITY_SCALE = 100; // make 1 km
    uint16 internal constant PM2_5 = 10;
    int32 internal constant PM2_5_SCALE = 10; // make 1 ug/m3
    uint16 internal constant PM10 = 11;
    int32 internal constant PM10_SCALE = 10; // make 1 ug/m3
    uint16 internal constant CO2 = 12;
    int32 internal constant CO2_SCALE = 1; // make 1 [ppm]
    uint16 internal constant SOLAR_IRRADIANCE = 13;
    int32 internal constant SOLAR_IRRADIANCE_SCALE = 10; // make 1 W/m2
}
