% A diamond-shaped network whose middle variables have three values.
%% answer: season(wet)  0.8235294117647058
%% answer: river(high)  0.4294117647058823
%% answer: river(mid)  0.2823529411764706
%% answer: river(low)  0.28823529411764703
%% answer: closed  0.4711764705882353

0.4::season(wet); 0.6::season(dry).

0.5::river(high); 0.3::river(mid); 0.2::river(low) :- season(wet).
0.1::river(high); 0.2::river(mid); 0.7::river(low) :- season(dry).

0.7::road(mud); 0.3::road(firm) :- season(wet).
0.1::road(mud); 0.9::road(firm) :- season(dry).

0.9::closed :- river(high), road(mud).
0.5::closed :- river(high), road(firm).
0.3::closed :- river(mid), road(mud).

query(river(_)).
query(closed).
query(season(wet)).
evidence(road(mud)).
