% The greenhouse network after a message but no horn.
%% answer: soil_dry  0.4883694294813534
%% answer: fan_broken  0.185376072354858
%% answer: alarm  0.5448781893551462

0.3::soil_dry.
0.1::fan_broken.

0.95::alarm :- soil_dry, fan_broken.
0.6::alarm :- soil_dry, \+ fan_broken.
0.7::alarm :- \+ soil_dry, fan_broken.
0.01::alarm :- \+ soil_dry, \+ fan_broken.

0.9::message :- alarm.
0.05::message :- \+ alarm.
0.8::horn :- alarm.
0.02::horn :- \+ alarm.

query(soil_dry).
query(fan_broken).
query(alarm).
evidence(message).
evidence(horn, false).
