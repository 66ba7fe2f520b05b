% One probabilistic fact and its query.
%% answer: rain  0.37

0.37::rain.

query(rain).
